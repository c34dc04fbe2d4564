"""Reading a byte stream from its middle, through a demuxer that cannot seek in it.

Raw streams have no times to seek to, and in a transport stream whose clock was set anew a time stands for several
places. But both are streams of bytes that a demuxer may pick up anywhere: shown the file's beginning, from which it
learns what streams there are, and right after it the bytes from some packet on, it goes on with that packet.
"""

from __future__ import annotations

import io
from typing import IO

BYTE_STREAMS = frozenset(("mpegts", "mpeg", "h264", "hevc"))
"""Demuxers of formats in which any packet can follow on any other."""

_HEAD_BYTES = 6 << 20
"""How much of the beginning is kept: more than the 5 MB that FFmpeg looks at to learn what streams there are."""

_TRANSPORT_PACKET = 188
"""Bytes; the beginning of a transport stream is cut between two packets."""

_PACK = b"\0\0\1\xba"
"""What a pack of a program stream begins with: cut elsewhere, it swallows what follows."""

_LARGEST_PACK = 1 << 17
"""Bytes; they mostly have 2048."""


class SplicedFile(io.RawIOBase):
    """The beginning of a file, and then the file from `position` on."""

    def __init__(self, file: IO[bytes], position: int, container: str) -> None:
        """Args:
        file: seekable; it stays open when this is closed.
        position: byte of the file, after `head_bytes`.
        container: FFmpeg's demuxer name.
        """
        super().__init__()
        self._file = file
        self.joint = _joint(file, container)
        """Byte at which `position` of the file stands here."""
        self._file.seek(0, io.SEEK_END)
        self._skipped = position - self.joint
        self._size = self._file.tell() - self._skipped
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        size = left if size < 0 else min(size, left)
        if self._at < self.joint:
            size = min(size, self.joint - self._at)
            self._file.seek(self._at)
        else:
            self._file.seek(self._at + self._skipped)
        content = self._file.read(size)
        self._at += len(content)
        return content


def head_bytes() -> int:
    """How much of a file's beginning a `SplicedFile` has at most: a whole number of transport packets."""
    return _HEAD_BYTES // _TRANSPORT_PACKET * _TRANSPORT_PACKET


def _joint(file: IO[bytes], container: str) -> int:
    if container != "mpeg":
        return head_bytes()
    looked_at = max(0, head_bytes() - _LARGEST_PACK)
    file.seek(looked_at)
    pack = file.read(head_bytes() - looked_at).rfind(_PACK)
    return head_bytes() if pack < 0 else looked_at + pack
