"""Opening a media file for demuxing, within the limits; a long MP4 so that it is read a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import RawIOBase
from typing import IO

import av
from av.container import InputContainer

from storage.demuxing import paged_by
from storage.errors import SourceError
from storage.limits import (
    PLAYLIST_START_BYTES,
    bound_decoders,
    open_within_limits,
    playlist_kind,
    require_modest,
)
from storage.mp4_tables import UnusualMovieError
from storage.paged_demuxing import PagedDemuxer
from storage.paged_movie import PagedMovie, paged_movie


@contextmanager
def open_container(source: str | IO[bytes] | RawIOBase, *, name: str) -> Iterator[InputContainer]:
    """Open a source for demuxing.

    Args:
        source: a path or a seekable binary file.
        name: what to call it in errors.

    Raises:
        SourceError: empty, unreadable, no media FFmpeg knows, a list of other files, or larger than `storage.limits`.
    """
    with ExitStack() as opened:
        movie = None if isinstance(source, RawIOBase) else opened.enter_context(paged_movie(source))
        container = _open_in_pages(movie, name, opened) if movie is not None else None
        if container is None:
            if not isinstance(source, str):
                source.seek(0)
            container = opened.enter_context(_open(source, name))
        require_modest(container, name)
        bound_decoders(container)
        yield container


def _open(source: str | IO[bytes] | RawIOBase, name: str) -> InputContainer:
    try:
        return open_within_limits(source)
    except av.error.FFmpegError as error:
        if kind := playlist_kind(_start_of(source)):
            raise SourceError(f"{name}: is {kind}, not a video. Name the files that it lists instead") from error
        raise SourceError(
            f"{name}: cannot be opened as media ({error.strerror}). Check that it is a whole video file"
        ) from error


def _open_in_pages(movie: PagedMovie, name: str, opened: ExitStack) -> InputContainer | None:
    """A long MP4; None where FFmpeg makes something else of it than its tables say."""
    container = opened.enter_context(_open(movie.header(), name))
    try:
        opened.enter_context(paged_by(PagedDemuxer(movie, container), container))
    except UnusualMovieError:
        container.close()
        return None
    return container


def _start_of(source: str | IO[bytes] | RawIOBase) -> bytes:
    """The first bytes of what could not be opened; none where it cannot be read either."""
    try:
        if isinstance(source, str):
            with open(source, "rb") as file:
                return file.read(PLAYLIST_START_BYTES)
        source.seek(0)
        return bytes(source.read(PLAYLIST_START_BYTES) or b"")
    except OSError:
        return b""
