"""The file that a result is written to: by FFmpeg's muxer, or, where that would need too much memory, by `LongMp4`."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from storage.containers import ContainerChoice
from storage.long_mp4 import LongMp4, is_cover, sample_bytes
from storage.probe import TIME_CODE, OtherStream, VideoProbe
from storage.result_streams import muxer_options

LONG_PACKETS = 100_000
"""A result that is expected to have more is written in this way: for fewer FFmpeg needs 8 MB."""

_PACKETS_A_SECOND = 50
"""Of a stream beside the picture, at most: AAC at 48 kHz has 47."""

_AS_THEY_ARE = frozenset("mp3 mp3float ac3 alac flac mov_text".split())
"""Codecs beside PCM whose packets FFmpeg's muxer writes as they are. AAC is one where it has no ADTS headers."""

_WITHOUT_ADTS = frozenset(("mov,mp4,m4a,3gp,3g2,mj2", "flv"))
"""Demuxers of containers in which AAC has none."""


class PacketWriter(Protocol):
    """What packets are written to."""

    def mux_one(self, packet: Packet) -> None:
        """Write the next packet, of the stream that is set on it."""


@contextmanager
def opened_result(
    target: Path, choice: ContainerChoice, probe: VideoProbe, container: InputContainer, frames: int, scratch: Path
) -> Iterator[tuple[OutputContainer, PacketWriter]]:
    """A result to write: what takes its streams, and then what takes its packets. It is whole when the block ends.

    Args:
        container: the source.
        frames: of the result.
        scratch: an empty folder.
    """
    options = muxer_options(choice, probe, container)
    if not is_long(choice, probe, container, frames):
        with av.open(str(target), "w", format=choice.muxer, options=options) as out:
            yield out, out
        return
    header = scratch / "header"
    with av.open(str(header), "w", format=choice.muxer, options=options) as out, LongMp4(out, target) as writer:
        yield out, writer
        writer.finish()
    writer.put_header_in_front(header)


def is_long(choice: ContainerChoice, probe: VideoProbe, container: InputContainer, frames: int) -> bool:
    """Whether a result shall be written by `LongMp4`: one of many packets, which it can write.

    Args:
        container: the source.
        frames: of the result.
    """
    left_out = {other.index for other in choice.left_out}
    held = [other for other in probe.other_streams if other.index not in left_out]
    expected = frames + probe.seconds * _PACKETS_A_SECOND * len(held)
    if choice.muxer not in ("mp4", "mov") or expected <= LONG_PACKETS:
        return False
    codecs = _AS_THEY_ARE | ({"aac"} if container.format.name in _WITHOUT_ADTS else set())
    streams = {stream.index: stream for stream in container.streams}
    # A source that has changed may lack one: that is found out in the end.
    return all(_is_written_as_it_is(each, streams[each.index], codecs) for each in held if each.index in streams)


def _is_written_as_it_is(other: OtherStream, stream: Stream, codecs: Set[str]) -> bool:
    if other.codec == TIME_CODE or is_cover(stream):  # which are in the header, or made by the muxer
        return True
    return other.codec in codecs or bool(sample_bytes(stream))
