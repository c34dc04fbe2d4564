"""A movie's file with another header."""

from __future__ import annotations

import io
import struct
from typing import IO

from storage.file_views import FileView
from storage.mp4_boxes import HEADER_BYTES, Box


class FileWithAnotherMovie(FileView):
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
        own_size = file.seek(0, io.SEEK_END)
        left = movie.size - len(content)
        has_room = left == 0 or left >= HEADER_BYTES
        super().__init__(own_size if has_room else own_size + len(content))
        self.name = name
        self._file = file
        if has_room:
            rest = struct.pack(">I4s", left, b"free") if left else b""
            self._replaced = [(movie.begin, content + rest)]
        else:
            self._replaced = [(movie.begin + 4, b"free"), (own_size, content)]

    def _content(self, begin: int, end: int) -> bytes:
        for at, content in self._replaced:
            if at <= begin < at + len(content):
                return content[begin - at : end - at]
            if begin < at:
                end = min(end, at)
        self._file.seek(begin)
        return self._file.read(end - begin)
