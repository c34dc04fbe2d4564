"""Files to read that are made of parts of another one: a demuxer is shown something else than what is stored."""

from __future__ import annotations

import io
from abc import abstractmethod


class FileView(io.RawIOBase):
    """A file of `size` bytes that can be read from anywhere."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._at = 0

    @abstractmethod
    def _content(self, begin: int, end: int) -> bytes:
        """What is between two of its bytes; it may be less, but not nothing where something is."""

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
        end = self._size if size < 0 else min(self._size, self._at + size)
        content = self._content(self._at, end) if self._at < end else b""
        self._at += len(content)
        return content
