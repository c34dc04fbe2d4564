"""A movie's file with another header."""

from __future__ import annotations

import io
import struct
from typing import IO

from storage.mp4_boxes import HEADER_BYTES, Box


class FileWithAnotherMovie(io.RawIOBase):
    """A file, to read, with another `moov` box in the place of its own.

    Should that have no room, as in small files, it stands behind the end, and the file's own is called `free`.
    """

    def __init__(self, file: IO[bytes], name: str, movie: Box, content: bytes) -> None:
        """Args:
        file: seekable; it stays open when this is closed.
        name: of the file.
        movie: its own `moov` box.
        content: of the other one.
        """
        super().__init__()
        self.name = name
        self._file, self._at = file, 0
        self._size = file.seek(0, io.SEEK_END)
        left = movie.size - len(content)
        if left == 0 or left >= HEADER_BYTES:
            rest = struct.pack(">I4s", left, b"free") if left else b""
            self._replaced = [(movie.begin, content + rest)]
        else:
            self._replaced = [(movie.begin + 4, b"free"), (self._size, content)]
            self._size += len(content)

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
        begin = self._at
        end = self._size if size < 0 else min(self._size, begin + size)
        for at, content in self._replaced:
            if at <= begin < at + len(content):
                found = content[begin - at : end - at]
                break
            if begin < at:
                end = min(end, at)
        else:
            self._file.seek(begin)
            found = self._file.read(max(0, end - begin))
        self._at += len(found)
        return found
