"""Boxes of an MP4 or MOV file (ISO 14496-12, section 4.2), found without reading what is in them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

HEADER_BYTES = 8
"""Of a box with a size of 32 bits."""


@dataclass(frozen=True)
class Box:
    """Where a box stands in its file."""

    kind: bytes
    begin: int
    payload: int
    """First byte after its header."""
    end: int
    open_ended: bool = False
    """Whether it says no size, but reaches up to where its parent or the file ends."""

    @property
    def size(self) -> int:
        """Bytes, its header included."""
        return self.end - self.begin


def boxes(file: IO[bytes], begin: int, end: int) -> Iterator[Box]:
    """The boxes between two bytes of a file, one after the other, up to one that does not fit.

    The caller may move in the file meanwhile.
    """
    while begin + HEADER_BYTES <= end:
        file.seek(begin)
        header = file.read(2 * HEADER_BYTES)
        size, kind = struct.unpack_from(">I4s", header)
        payload = begin + HEADER_BYTES
        open_ended = size == 0
        if open_ended:
            size = end - begin
        elif size == 1 and len(header) == 2 * HEADER_BYTES:
            (size,) = struct.unpack_from(">Q", header, HEADER_BYTES)
            payload += HEADER_BYTES
        if not payload <= begin + size <= end:
            return
        yield Box(kind, begin, payload, begin + size, open_ended)
        begin += size


def box(kind: bytes, payload: bytes) -> bytes:
    """A box, written out."""
    return struct.pack(">I4s", HEADER_BYTES + len(payload), kind) + payload


def full_box(kind: bytes, payload: bytes) -> bytes:
    """A box of version 0 without flags, written out."""
    return box(kind, bytes(4) + payload)
