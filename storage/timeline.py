"""When the frames of a video are shown, where its packets' timestamps alone do not tell.

Most files are regular: every packet has a timestamp of its own, and in the order of showing they rise. Then a frame's
pts is its packet's, and reading may begin at any keyframe. Three things break that, and a `Timeline` describes them:

    clock set anew     recordings joined end to end, a transport stream whose clock was reset. Each stretch of running
                       clock is an `Epoch`; a shift places it after everything that went before.
    stamps that lack   or stand twice, step back a little, or are wrong in a single packet. The frame goes where the
                       order of showing wants it, as near to its stamp as it can (`place_stamped`).
    no stamps at all   raw H.264 and HEVC, or stamps that count packets, as AVI's do under H.264. The frames are
                       counted in the order of showing (`CountedPlacer`).

In such videos what a frame's pts is may depend on frames before it, so reading begins only at an `Anchor`: a keyframe
from which on it does not. This is what makes the frames of any two shards those of one reading of the whole file.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from storage.nal_units import unit_type, units_in

_RESET_SECONDS = 1
"""A clock that steps back by more was set anew; by less, it jitters."""

_NEVER = -(1 << 63)
"""Before every time."""

_CLOCK_CIRCLES = {"mpegts": 1 << 33, "mpeg": 1 << 33}
"""Ticks after which a container's clock starts again at 0."""

FRAMES_AHEAD = 48
"""How many frames without a stamp are held until the next stamp comes. MPEG-TS may leave out 0.7 seconds of them."""

_ANCHORS_WITHIN = 64
"""At most so many anchors of a shard's own range travel with it."""

_NEAREST_ANCHORS = 16
"""So many before it do: where its lead-in begins, and what to fall back to."""

_FARTHER = Fraction(5, 4)
"""Of the anchors farther back, each is so many times as far away as the one after."""


@dataclass(frozen=True)
class Epoch:
    """A stretch of a video in which its clock runs on."""

    first_packet: int
    """Number of its first video packet, in coding order; the two fields of a frame have one number."""
    shift: int
    """Ticks to add to every timestamp of it; other streams add the same time."""


@dataclass(frozen=True)
class Anchor:
    """A keyframe that reading may begin at."""

    packet: int
    """Number of its packet among the video's packets, in coding order."""
    position: int
    """Byte that its packet begins at, in the file; -1 when the demuxer does not tell."""
    dts: int | None
    """As the demuxer gives it."""
    pts: int
    """At which its frame is placed."""


@dataclass(frozen=True)
class Timeline:
    """How a video's frames come by their pts. The default is a regular file's."""

    counted: bool = False
    """Whether frames are counted in the order of showing, and their packets' stamps do not belong to them."""
    reorder: int = 0
    """For counted frames: how many packets late a packet's frame may be shown, at the beginning of the video."""
    epochs: tuple[Epoch, ...] = (Epoch(0, 0),)
    anchors: tuple[Anchor, ...] | None = None
    """In order of time; None when every keyframe is one, which is so in a regular file."""
    has_outliers: bool = False
    """Whether single packets of the video have a wrong stamp (`OutlierFilter`)."""
    remarks: tuple[str, ...] = ()
    """What about the timestamps is worth telling, for the manifest."""

    def __post_init__(self) -> None:
        if not self.epochs or self.epochs[0].first_packet != 0:
            raise ValueError("the first epoch begins with the first packet")

    @property
    def regular(self) -> bool:
        """Whether every packet's own timestamp is its frame's pts."""
        return self.anchors is None

    @property
    def shifted(self) -> bool:
        """Whether times of the source are moved, in any stretch of it."""
        return any(epoch.shift for epoch in self.epochs)

    def near(self, start: int | None, end: int | None) -> Timeline:
        """The same timeline with the anchors that a reading which begins in [start, end), or before it, needs.

        They are few, and found without a walk over all of them: a video of many hours has thousands of shards.
        """
        anchors = self.anchors
        if anchors is None:
            return self
        first = 0 if start is None else bisect_left(anchors, start, key=_pts_of)
        last = len(anchors) if end is None else bisect_left(anchors, end, key=_pts_of)
        within = anchors[first : last : max(1, -(-(last - first) // _ANCHORS_WITHIN))]
        nearest = anchors[max(0, first - _NEAREST_ANCHORS) : first]
        before = _farther_and_farther(anchors, first - len(nearest), start) if start is not None else []
        return replace(self, anchors=(*before, *nearest, *within))

    def epoch_of(self, packet: int) -> int:
        """Number of the epoch that a video packet, given by its number, belongs to."""
        return bisect_right(self.epochs, packet, key=lambda epoch: epoch.first_packet) - 1


def _farther_and_farther(anchors: tuple[Anchor, ...], number: int, start: int) -> list[Anchor]:
    """A few of the anchors before `number`, in order of time; the farther from `start`, the fewer."""
    kept: list[Anchor] = []
    while number > 0:
        farther = start - math.ceil((start - anchors[number].pts) * _FARTHER)
        number = min(number, bisect_right(anchors, farther, key=_pts_of)) - 1
        if number >= 0:
            kept.append(anchors[number])
    return kept[::-1]


def _pts_of(anchor: Anchor) -> int:
    return anchor.pts


class Clock:
    """One stream's clock, followed packet by packet."""

    def __init__(self, container: str, time_base: Fraction) -> None:
        """Args:
        container: FFmpeg's demuxer name.
        time_base: of the stream.
        """
        self._circle = _CLOCK_CIRCLES.get(container, 0)
        self.reset_ticks = int(_RESET_SECONDS / time_base)
        """Ticks; by more a clock does not step back, unless it is set anew."""
        self.last: int | None = None
        """The latest time told, ticks."""

    def follow(self, packet: Packet) -> int | None:
        """What must be added to the packet's times so that they go on from the clock's last one; 0 when they do.

        None when the clock was set anew: nothing in the stream tells how far the two stretches are apart.
        """
        now = packet.dts
        if now is None:  # its pts tells nothing: Matroska's first packets have only that, seconds ahead of the next dts
            return 0
        last, self.last = self.last, now
        if last is None:
            return 0
        step = self.step(last, now)
        return None if step < -self.reset_ticks else last + step - now

    def step(self, before: int, now: int) -> int:
        """Ticks from one time to another, around the clock's circle the nearer way."""
        half = self._circle // 2
        return (now - before + half) % self._circle - half if half else now - before


class OutlierFilter:
    """Takes their times away from single packets of the video whose stamp is wrong.

    A packet is an outlier when the clock jumps at it, and the next one goes on from the packet before it as if it were
    not there. A clock that stays where it jumped to was set anew, or stood still.
    """

    def __init__(self, container: str, stream: VideoStream) -> None:
        """Args:
        container: FFmpeg's demuxer name.
        stream: the main video.
        """
        assert stream.time_base is not None
        self._index = stream.index
        self._clock = Clock(container, stream.time_base)
        self.found = 0
        """Outliers among the packets so far."""

    def applied(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """The packets, of one stream or of all, in their order; from a jump on they are held until the next one tells.

        Raises:
            FFmpegError: as drawing `packets` does, when those that were held are out.
        """
        held: list[Packet] = []
        try:
            for packet in packets:
                if packet.stream_index != self._index or packet.dts is None or not packet.size or packet.is_discard:
                    if held:
                        held.append(packet)
                    else:
                        yield packet
                    continue
                if held:
                    self._judge(held[0], packet.dts)
                    yield from held
                    held = []
                last = self._clock.last
                if last is not None and abs(self._clock.step(last, packet.dts)) > self._clock.reset_ticks:
                    held.append(packet)
                else:
                    self._clock.last = packet.dts
                    yield packet
        except av.error.FFmpegError:
            yield from held
            raise
        yield from held

    def _judge(self, packet: Packet, following: int) -> None:
        """Whether a packet at which the clock jumped is an outlier, by the dts of the packet after it."""
        assert self._clock.last is not None
        assert packet.dts is not None
        across = self._clock.step(self._clock.last, following)
        if 0 < across < abs(self._clock.step(packet.dts, following)):
            packet.pts = packet.dts = None
            self.found += 1
        else:
            self._clock.last = packet.dts


class EpochFinder:
    """Tells the epoch of every packet of a file, all streams together, from the order in which they are demuxed.

    The video's clock decides. Another stream goes over to the next epoch when its own clock is set anew, or, when that
    shows nothing (a subtitle now and then), once its times fit the video's new clock better than the old one.
    """

    def __init__(self, container: str, video: int, time_bases: dict[int, Fraction]) -> None:
        """Args:
        container: FFmpeg's demuxer name.
        video: index of the main video stream.
        time_bases: of every stream, by index.
        """
        self._container, self._video, self._time_bases = container, video, time_bases
        self._clocks = {index: Clock(container, base) for index, base in time_bases.items()}
        self._epochs = dict.fromkeys(time_bases, 0)
        self._video_ends = [0.0]
        """Seconds on the video's clock, the latest of each epoch."""
        self.joins: list[int | None] = []
        """For each epoch after the first: ticks by which its clock is off the one before, None when unknown."""

    def epoch_of(self, packet: Packet) -> int:
        """Number of the epoch of the next packet."""
        index = packet.stream_index
        clock = self._clocks[index]
        offset = clock.follow(packet)
        seconds = float((clock.last or 0) * self._time_bases[index])
        if index == self._video:
            if offset != 0:
                self._epochs[index] += 1
                self.joins.append(offset)
                self._video_ends.append(seconds)
            self._video_ends[-1] = seconds
        else:
            self._epochs[index] = self._others_epoch(index, seconds, offset)
        return self._epochs[index]

    def _others_epoch(self, index: int, seconds: float, offset: int | None) -> int:
        epoch, video_epoch = self._epochs[index], self._epochs[self._video]
        if offset != 0:
            return min(epoch + 1, video_epoch + 1)
        if epoch >= video_epoch:
            return epoch
        old, new = self._video_ends[epoch], self._video_ends[video_epoch]
        return video_epoch if abs(seconds - new) < abs(seconds - old) else epoch


class PacketPlacer:
    """Moves the times of every stream's packets as a timeline moves the video's, and lets decoding times rise.

    No container takes a stream whose decoding times step back, as they do behind damage and in badly sorted subtitles:
    such a packet goes behind the one before. Its pts stays where it can, which is never before its dts. The picture
    that is restored gets its times elsewhere.
    """

    def __init__(self, container: InputContainer, timeline: Timeline, video: int) -> None:
        """Args:
        container: at its beginning.
        video: index of the main video stream.
        """
        bases = {each.index: each.time_base for each in container.streams if each.time_base}
        self._epochs, self._video_base = timeline.epochs, bases.get(video, Fraction(1))
        self._finder = EpochFinder(container.format.name, video, bases) if timeline.shifted else None
        stream = container.streams[video]
        self._outliers: OutlierFilter | None = None
        if timeline.has_outliers and isinstance(stream, VideoStream):
            self._outliers = OutlierFilter(container.format.name, stream)
        self._last = {each.index: _NEVER for each in container.streams if each.index != video}
        self._may_repeat = {each.index for each in container.streams if each.type in ("subtitle", "data")}
        self.pushed: dict[int, int] = {}
        """By stream index: packets that had to go behind the one before."""

    def placed(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """The packets of all streams, as the demuxer gives them, at the times where they belong."""
        for packet in self._outliers.applied(packets) if self._outliers is not None else packets:
            self.apply(packet)
            yield packet

    def apply(self, packet: Packet) -> None:
        """Move the next packet, in the order of demuxing, whose stamp is to be believed."""
        if self._finder is not None and packet.time_base is not None:
            epoch = min(self._finder.epoch_of(packet), len(self._epochs) - 1)
            shift = round(self._epochs[epoch].shift * self._video_base / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + shift
            packet.dts = None if packet.dts is None else packet.dts + shift
        if packet.stream_index in self._last and packet.dts is not None and packet.size:
            self._let_rise(packet)

    def _let_rise(self, packet: Packet) -> None:
        index = packet.stream_index
        assert packet.dts is not None
        lowest = self._last[index] + (index not in self._may_repeat)
        if packet.dts < lowest:
            packet.dts = lowest
            packet.pts = None if packet.pts is None else max(packet.pts, packet.dts)
            self.pushed[index] = self.pushed.get(index, 0) + 1
        self._last[index] = packet.dts


def place_stamped(frames: Iterable[VideoFrame], frame_ticks: Fraction) -> Iterator[VideoFrame]:
    """Give every frame a pts that rises, from the stamps that the frames have.

    A stamp that is after the frame before is kept. One that is not becomes the next tick. Frames without a stamp are
    spread evenly between the stamps around them; where the next stamp is more than `FRAMES_AHEAD` frames away, or never
    comes, they are a nominal frame apart. Those before the first stamp are as far ahead of it.

    Args:
        frames: in the order of showing, pts None where a stamp lacks.
        frame_ticks: nominal duration of a frame.
    """
    last: int | None = None
    base, since = 0, 0  # the latest stamp, and how many frames without one came after it
    for unstamped, stamped in _by_stamp(frames):
        stamp = None if stamped is None else stamped.pts
        start, count = last, len(unstamped)
        for number, frame in enumerate(unstamped, 1):
            if start is None:
                early = -math.ceil((count + 1 - number) * frame_ticks)
                pts = math.floor((number - 1) * frame_ticks) if stamp is None else stamp + early
            elif stamp is None:
                pts = base + math.floor((since + number) * frame_ticks)
            else:
                pts = start + (stamp - start) * number // (count + 1)
            frame.pts = last = pts if last is None else max(pts, last + 1)
            yield frame
        since += count
        if stamped is not None and stamp is not None:
            base, since = stamp, 0
            stamped.pts = last = stamp if last is None else max(stamp, last + 1)
            yield stamped


def _by_stamp(frames: Iterable[VideoFrame]) -> Iterator[tuple[list[VideoFrame], VideoFrame | None]]:
    """The frames without a stamp that come in a row, and the frame with one after them.

    That is None at the end, and where `FRAMES_AHEAD` frames were held without coming to it.
    """
    waiting: list[VideoFrame] = []
    anything_stamped = False
    for frame in frames:
        if frame.pts is not None:
            anything_stamped = True
            yield waiting, frame
            waiting = []
            continue
        waiting.append(frame)
        if anything_stamped and len(waiting) == FRAMES_AHEAD:
            yield waiting, None
            waiting = []
    yield waiting, None


class CountedPlacer:
    """Places frames whose packets are numbered in coding order: the n-th frame shown takes the n-th packet's stamp.

    A frame that was lost leaves its place empty as far as that can be told: no frame that is coded from a closed
    keyframe on is shown before its number, and after a loss none is shown more than `reorder` packets early.
    """

    def __init__(self, reorder: int, first_packet: int) -> None:
        """Args:
        reorder: of the timeline.
        first_packet: number of the packet that reading begins with, a closed keyframe or the video's first.
        """
        self._reorder = reorder
        self._next = first_packet
        self._stamps: deque[int] = deque()
        self._oldest = first_packet  # number of the packet whose stamp is the deque's first
        self._closed = deque([first_packet])
        self._losses: deque[int] = deque()

    def fed(self, packet: int, stamp: int, *, closed: bool) -> None:
        """A packet goes to the decoder; `closed` when no frame before it is shown after it, nor needs it."""
        self._stamps.append(stamp)
        if closed:
            self._closed.append(packet)

    def lost(self, packet: int) -> int:
        """The decoder refused the packet that it was fed last; returns its stamp."""
        self._losses.append(packet)
        return self._stamps[-1]

    def place(self, packet: int) -> int:
        """pts of the next frame shown, which was coded in `packet`."""
        while len(self._closed) > 1 and self._closed[1] <= packet:
            self._closed.popleft()
        floor = self._closed[0]
        while self._losses and self._losses[0] < floor:
            self._losses.popleft()
        slot = max(self._next, floor)
        if self._losses and self._losses[0] < packet:
            slot = max(slot, packet - self._reorder)
        slot = min(slot, self._oldest + len(self._stamps) - 1)
        self._next = slot + 1
        while self._oldest < slot:
            self._stamps.popleft()
            self._oldest += 1
        return self._stamps[0]


_CODED_PICTURES = {"h264": range(1, 6), "hevc": range(32)}
"""nal_unit_type of what holds slices of a picture."""

_IDR = {"h264": (5,), "hevc": (19, 20)}
_VOP_START = b"\0\0\1\xb6"


def repeats_a_frame(packet: Packet) -> bool:
    """Whether a packet is empty, which is how Theora and AVI say that the frame before stays; no decoder takes such.

    What a demuxer gives at its end, to flush the decoder, is empty too but has no time.
    """
    return packet.size == 0 and packet.dts is not None


def is_closed_keyframe(packet: Packet, codec: str) -> bool:
    """Whether a packet holds a keyframe that ends all that went before: nothing after it is shown before it, or needs
    what came before it.

    It is an IDR picture of H.264 or HEVC in Annex B form; in MPEG-4, packed for AVI, a keyframe without a B-frame in
    its packet. False for every other codec, where a packet does not tell.
    """
    if not packet.is_keyframe:
        return False
    if codec == "mpeg4":
        return pictures_in(packet, codec) == 1
    if codec not in _CODED_PICTURES:
        return False
    kinds = (unit_type(codec, unit) for unit in units_in(bytes(packet), None))
    first = next((kind for kind in kinds if kind in _CODED_PICTURES[codec]), None)
    return first in _IDR[codec]


def pictures_in(packet: Packet, codec: str) -> int:
    """How many pictures a packet of MPEG-4 part 2 holds; 1 for every other codec."""
    return bytes(packet).count(_VOP_START) if codec == "mpeg4" else 1
