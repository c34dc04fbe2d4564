"""Times and hashes of a stream's packets: 32 bytes each, in a temporary file once they are many."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np

NO_TIME = np.iinfo(np.int64).min
"""Stands for a pts or dts that a packet does not have."""

PACKET = np.dtype([("pts", "<i8"), ("dts", "<i8"), ("duration", "<i8"), ("digest", "<u8")])
"""One packet: times in ticks of its stream, and 8 bytes of the SHA-256 of its content."""

_ROWS_PER_CHUNK = 1 << 14
_IN_MEMORY_BYTES = 1 << 19
"""A log up to this size stays in memory: most streams of a short video."""


class PacketLog:
    """Rows of `PACKET`, in coding order, kept in a temporary file once they are many."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - lives as long as the log
        self._waiting: list[tuple[int, int, int, int]] = []
        self._written = 0
        self.first_pts: int | None = None
        """Lowest pts; None when no packet has one."""
        self.end_pts: int | None = None
        """Highest end of a packet: its pts and its duration."""

    def __len__(self) -> int:
        return self._written + len(self._waiting)

    def add(self, pts: int | None, dts: int | None, duration: int | None, digest: int) -> None:
        """Enter the next packet; `digest` is below 2**64."""
        if pts is not None:
            end = pts + (duration or 0)
            self.first_pts = pts if self.first_pts is None else min(self.first_pts, pts)
            self.end_pts = end if self.end_pts is None else max(self.end_pts, end)
        self._waiting.append((NO_TIME if pts is None else pts, NO_TIME if dts is None else dts, duration or 0, digest))
        if len(self._waiting) >= _ROWS_PER_CHUNK:
            self._flush()

    def chunks(self) -> Iterator[np.ndarray]:
        """The rows, (up to 16384,) of dtype `PACKET` at a time; two logs are cut at the same places."""
        self._flush()
        for first in range(0, self._written, _ROWS_PER_CHUNK):
            self._file.seek(first * PACKET.itemsize)
            rows = min(_ROWS_PER_CHUNK, self._written - first)
            yield np.frombuffer(self._file.read(rows * PACKET.itemsize), dtype=PACKET)

    def _flush(self) -> None:
        self._file.seek(self._written * PACKET.itemsize)
        self._file.write(np.array(self._waiting, dtype=PACKET).tobytes())
        self._written += len(self._waiting)
        self._waiting.clear()
