"""Reading a byte stream from its middle, through a demuxer that cannot seek in it.

Raw streams have no times to seek to, and in a transport stream whose clock was set anew a time stands for several
places. But both are streams of bytes that a demuxer may pick up anywhere: shown the file's beginning, from which it
learns what streams there are, and right after it the bytes from some packet on, it goes on with that packet.
"""

from __future__ import annotations

import io
from typing import IO

from storage.file_views import FileView

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


class SplicedFile(FileView):
    """The beginning of a file, and then the file from `position` on."""

    def __init__(self, file: IO[bytes], position: int, container: str) -> None:
        """Args:
        file: seekable; it stays open when this is closed.
        position: byte of the file, after `head_bytes`.
        container: FFmpeg's demuxer name.
        """
        self._file = file
        self.joint = _joint(file, container)
        """Byte at which `position` of the file stands here."""
        self._skipped = position - self.joint
        super().__init__(file.seek(0, io.SEEK_END) - self._skipped)

    def _content(self, begin: int, end: int) -> bytes:
        if begin < self.joint:
            end = min(end, self.joint)
            self._file.seek(begin)
        else:
            self._file.seek(begin + self._skipped)
        return self._file.read(end - begin)


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
