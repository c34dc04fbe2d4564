"""Packets of a container, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from storage.paged_demuxing import PagedDemuxer

_paged: dict[int, PagedDemuxer] = {}
"""Of the containers that are open and show a page of their file: PyAV's take no attributes."""


@contextmanager
def paged_by(demuxer: PagedDemuxer, container: InputContainer) -> Iterator[None]:
    """Let the packets of `container` come from `demuxer`."""
    _paged[id(container)] = demuxer
    try:
        yield
    finally:
        del _paged[id(container)]
        demuxer.close()


def demuxed(container: InputContainer, *streams: Stream) -> Iterator[Packet]:
    """The packets of `streams`, or of all, from where the demuxer stands; at the end an empty one of each.

    A stream that appears only midway, as FLV and MPEG-TS allow, has none. PyAV knows the streams that were found when
    the file was opened; it gives all packets of these, and stumbles over the others at the very end.

    Raises:
        FFmpegError: what comes cannot be demuxed.
    """
    if (paged := _paged.get(id(container))) is not None:
        yield from paged.demuxed(*streams)
        return
    try:
        yield from container.demux(*streams)
    except IndexError:
        return


def seek(container: InputContainer, stream: Stream, pts: int) -> None:
    """Let `demuxed` go on at or before `pts`, at a keyframe if the demuxer knows of one.

    Raises:
        FFmpegError: it cannot go there.
    """
    if (paged := _paged.get(id(container))) is not None:
        paged.seek(stream, pts)
    else:
        container.seek(pts, stream=stream, backward=True)
