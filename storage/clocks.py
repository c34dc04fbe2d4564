"""The clocks of a file's streams, packet by packet: where one is set anew, or is wrong once, and what follows of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from storage.timeline import Timeline

_RESET_SECONDS = 1
"""A clock that steps back by more was set anew; by less, it jitters."""

_NEVER = -(1 << 63)
"""Before every time."""

_WAITED_FOR = 32
"""Packets that may come between a frame's and the last of those shown before it: 16 frames, of two fields each."""

_SURELY_TOLD_BY = 17
"""As many when the file ends before: all but one of them hold frames of their own, and none of those may be so late."""

_FEWEST_BEHIND = 2
"""Packets that must go on with the clock, when the file ends, for the one before them to be an outlier."""

_CLOCK_CIRCLES = {"mpegts": 1 << 33, "mpeg": 1 << 33}
"""Ticks after which a container's clock starts again at 0."""


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

    Where the clock runs on, a pts alone is wrong when it is far from the packet's dts, and from the pts of all the
    packets of which one would be near it: no codec lets a frame wait for so many. No packet before it decides that.
    Where the file ends sooner, fewer decide: the last frame may be shown long after those that are coded behind it.
    """

    def __init__(self, container: str, stream: VideoStream) -> None:
        """Args:
        container: FFmpeg's demuxer name.
        stream: the main video.
        """
        assert stream.time_base is not None
        self._index = stream.index
        self._clock = Clock(container, stream.time_base)
        self._reorders = bool(stream.codec_context.has_b_frames)
        self.found = 0
        """Outliers among the packets so far."""

    def applied(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """The packets, of one stream or of all, in their order; some are held until those after them tell.

        Raises:
            FFmpegError: as drawing `packets` does, when those that were held are out.
        """
        waiting: deque[Packet] = deque()
        timed: deque[Packet] = deque()  # those of them that are the video's and have both times
        try:
            for packet in self._with_wrong_clocks_judged(packets):
                waiting.append(packet)
                if packet.stream_index == self._index and packet.pts is not None and packet.dts is not None:
                    timed.append(packet)
                if len(timed) > _WAITED_FOR:
                    self._judge_pts(timed)
                    judged = timed.popleft()
                    while waiting[0] is not judged:
                        yield waiting.popleft()
                    yield waiting.popleft()
        except av.error.FFmpegError:
            self._judge_last(timed)
            yield from waiting
            raise
        self._judge_last(timed)
        yield from waiting

    def _judge_last(self, timed: deque[Packet]) -> None:
        """Judge the pts of those of the last packets behind which enough come."""
        while len(timed) > _FEWEST_BEHIND:
            self._judge_pts(timed)
            timed.popleft()

    def _judge_pts(self, timed: Sequence[Packet]) -> None:
        """Whether the pts of the first packet is an outlier, by the packets after it."""
        first, *others = timed
        assert first.pts is not None
        assert first.dts is not None
        far = self._clock.reset_ticks
        if abs(first.pts - first.dts) <= far:
            return
        clock = [packet.dts or 0 for packet in timed]
        runs_on = all(0 < after - before <= far for before, after in pairwise(clock))
        shown = [packet.pts or 0 for packet in others]
        early = first.pts + far < min(*shown, first.dts)
        late = first.pts - far > max(shown) and self._cannot_be_shown_after(others)
        if runs_on and (early or late):
            first.pts = None
            self.found += 1

    def _cannot_be_shown_after(self, others: Sequence[Packet]) -> bool:
        """Whether no frame that is coded before these packets is shown after all of them.

        None is before so many, before a keyframe, or in a stream whose frames are shown as they are coded.
        """
        return not self._reorders or len(others) >= _SURELY_TOLD_BY or any(packet.is_keyframe for packet in others)

    def _with_wrong_clocks_judged(self, packets: Iterable[Packet]) -> Iterator[Packet]:
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


_TAKE_EQUAL_TIMES = frozenset(("matroska", "webm", "flv"))
"""Containers that take packets of any stream at one time, as those of TrueHD are when counted in milliseconds."""


class PacketPlacer:
    """Moves the times of every stream's packets as a timeline moves the video's, and lets decoding times rise.

    No container takes a stream whose decoding times step back, as they do behind damage and in badly sorted subtitles:
    such a packet goes behind the one before. Its pts stays where it can, which is never before its dts. The picture
    that is restored gets its times elsewhere.
    """

    def __init__(self, container: InputContainer, timeline: Timeline, video: int, into: str) -> None:
        """Args:
        container: at its beginning.
        video: index of the main video stream.
        into: FFmpeg's name of the container that takes the packets.
        """
        bases = {each.index: each.time_base for each in container.streams if each.time_base}
        self._epochs, self._video_base = timeline.epochs, bases.get(video, Fraction(1))
        self._finder = EpochFinder(container.format.name, video, bases) if timeline.shifted else None
        stream = container.streams[video]
        self._outliers: OutlierFilter | None = None
        if timeline.has_outliers and isinstance(stream, VideoStream):
            self._outliers = OutlierFilter(container.format.name, stream)
        self._last = {each.index: _NEVER for each in container.streams if each.index != video}
        repeats = bool(_TAKE_EQUAL_TIMES & frozenset(into.split(",")))
        self._may_repeat = {each.index for each in container.streams if repeats or each.type in ("subtitle", "data")}
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
