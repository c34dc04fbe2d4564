"""Packets of a container, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream


def demuxed(container: InputContainer, *streams: Stream) -> Iterator[Packet]:
    """The packets of `streams`, or of all, from where the demuxer stands; at the end an empty one of each.

    A stream that appears only midway, as FLV and MPEG-TS allow, has none. PyAV knows the streams that were found when
    the file was opened; it gives all packets of these, and stumbles over the others at the very end.

    Raises:
        FFmpegError: what comes cannot be demuxed.
    """
    try:
        yield from container.demux(*streams)
    except IndexError:
        return
