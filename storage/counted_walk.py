"""The walk over a video whose frames have to be counted, since its stamps do not tell when they are shown."""

from __future__ import annotations

import math
from fractions import Fraction

from av.packet import Packet
from av.video.stream import VideoStream

from storage.coded_pictures import ClosedKeyframes
from storage.h264 import FieldPairs
from storage.occupied import OccupiedTime, united
from storage.scan import Scan, note_anchor
from storage.timeline import Anchor, Timeline


def counted_stamp(packet: Packet, number: int, frame_ticks: Fraction) -> int:
    """The stamp of the `number`-th packet of a video whose frames are counted: its own, or by the nominal rate."""
    return packet.pts if packet.pts is not None else math.floor(number * frame_ticks)


class CountedWalk:
    """Counts packets and notes the closed keyframes."""

    def __init__(self, stream: VideoStream, frame_ticks: Fraction, reorder: int) -> None:
        self._stream, self._frame_ticks, self._reorder = stream, frame_ticks, reorder
        self._fields = FieldPairs(stream)
        self._packets = 0
        self._stamp: int | None = None
        self._first: int | None = None
        self._anchors: list[Anchor] = []
        self._closed = ClosedKeyframes(stream.codec_context.name)
        self._keyframe: Anchor | None = None  # the latest
        assert stream.time_base is not None
        self._occupied = OccupiedTime(stream.time_base)

    def take(self, packet: Packet) -> None:
        if packet.stream_index != self._stream.index or self._fields.is_second(packet):
            return
        self._stamp = counted_stamp(packet, self._packets, self._frame_ticks)
        self._occupied.take(self._stamp)
        if self._first is None:
            self._first = self._stamp
        latest = self._keyframe
        if packet.is_keyframe:
            position = -1 if packet.pos is None else packet.pos
            self._keyframe = Anchor(self._packets, position, packet.dts, self._stamp)
        number = self._closed.found(packet, self._packets)
        for anchor in (latest, self._keyframe):
            if anchor is not None and anchor.packet == number:
                note_anchor(self._anchors, anchor, self._stream)
                break
        self._packets += 1

    def scan(self) -> Scan:
        timeline = Timeline(counted=True, reorder=self._reorder, anchors=tuple(self._anchors))
        end = None if self._stamp is None else round(self._stamp + self._frame_ticks)
        return Scan(timeline, self._first, end, occupied=united(self._occupied.stretches()))
