"""How a video's packets are stamped, by its first ones: with times, with mere numbers, or not at all."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from storage.coded_pictures import MPEG4_B, mpeg4_pictures, repeats_a_frame
from storage.demuxing import demuxed
from storage.h264 import FieldPairs

_ANNEX_B = frozenset(("h264", "hevc"))
"""Codecs, and demuxers of their raw streams: no stamps are told there, and in AVI stamps in coding order."""

_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"

_STAMPED_WITHIN = 1024
"""Packets without a stamp that a stream may begin with before its frames are counted."""

_LOOKED_AT = 64
"""Packets that tell how a stream is stamped."""


def is_counted(container: InputContainer, stream: VideoStream) -> bool:
    """Whether the packets of such a stream have no stamps, or stamps that only number them."""
    name, codec = container.format.name, stream.codec_context.name
    if name == "avi":
        return bool(stream.codec_context.has_b_frames) and (codec in _ANNEX_B or _is_packed(container, stream))
    if name == _MP4 and codec == "mpeg4" and stream.codec_context.has_b_frames:
        return _is_in_coding_order(container, stream)
    return name in _ANNEX_B or not _is_stamped(container, stream)


def _is_stamped(container: InputContainer, stream: VideoStream) -> bool:
    """Whether one of the next packets has a timestamp."""
    with suppress(av.error.FFmpegError):
        packets = (packet for packet in demuxed(container, stream) if packet.size)
        return any(packet.pts is not None for packet in islice(packets, _STAMPED_WITHIN))
    return False


def _is_in_coding_order(container: InputContainer, stream: VideoStream) -> bool:
    """Whether all packets up to the first B-frame have the pts that is their dts, as when they were copied from an AVI.

    The frame that a B-frame refers to ahead is coded before it and shown after it: such stamps cannot be its time.
    """
    with suppress(av.error.FFmpegError):
        for packet in islice(demuxed(container, stream), _STAMPED_WITHIN):
            if packet.pts is None or packet.pts != packet.dts or packet.is_discard:
                return False
            if MPEG4_B in mpeg4_pictures(packet):
                return True
    return False


def _is_packed(container: InputContainer, stream: VideoStream) -> bool:
    """Whether one of the next packets holds two pictures of MPEG-4, as DivX packed its B-frames into AVI."""
    with suppress(av.error.FFmpegError):
        return any(
            stream.codec_context.name == "mpeg4" and len(mpeg4_pictures(packet)) > 1
            for packet in islice(demuxed(container, stream), _LOOKED_AT)
        )
    return False


def measured_reorder(container: InputContainer, stream: VideoStream) -> int:
    """How many places later a packet's frame may be shown than it is coded, by the first frames."""
    numbers: list[int] = []
    fields = FieldPairs(stream)
    number = -1
    try:
        packets = (packet for packet in demuxed(container, stream) if not repeats_a_frame(packet))
        for packet in islice(packets, _LOOKED_AT):
            number += not fields.is_second(packet)
            packet.pts = number
            with suppress(av.error.FFmpegError):
                numbers += [frame.pts for frame in packet.decode() if frame.pts is not None]
    except av.error.FFmpegError:
        pass  # damage: what lies before it tells
    return max((number - place for place, number in enumerate(numbers)), default=0)


def measured_lead(container: InputContainer, stream: VideoStream) -> int:
    """How many frames are shown before the first one that has a timestamp."""
    lead = 0
    try:
        for packet in demuxed(container, stream):
            if repeats_a_frame(packet):
                continue
            with suppress(av.error.FFmpegError):
                for frame in packet.decode():
                    if frame.pts is not None:
                        return lead
                    lead += 1
    except av.error.FFmpegError:
        pass  # damage: what lies before it tells
    return lead
