"""The walk over a video whose packets have stamps: its clocks, where they begin anew, and what its stamps lack."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from storage.clocks import EpochFinder
from storage.h264 import FieldPairs
from storage.occupied import OccupiedTime, united
from storage.placing import FRAMES_AHEAD
from storage.scan import Scan, note_anchor
from storage.timeline import Anchor, Epoch, Timeline
from storage.words import counted

_DUPLICATES_WITHIN = 64
"""A stamp counts as a duplicate of one of so many packets before it."""

_DEEPEST_REORDER = 16
"""Frames that H.264 and HEVC keep at most: a frame is coded no more places from where it is shown."""

_COUNTING_FROM_SEEKS = frozenset(("mpeg", "avi"))
"""Demuxers that count times from where a seek sent them: of MPEG-PS, where a PES packet of several frames has one time;
of AVI, where behind damage its index and its packets tell different numbers. So do those of raw streams, all of which
say that they have no timestamps: where a raw MPEG-2 stream has lost its first keyframe, by half a frame otherwise."""

_NO_TIMESTAMPS = 0x80
"""FFmpeg's flag of such a demuxer, AVFMT_NOTIMESTAMPS; PyAV has it as an enum that its stubs give no number."""

_LONGEST_DURATION_SECONDS = 60
"""Of a video packet. FFmpeg mostly guesses it by a rate, which damage may have made one of years."""

_TOO_FEW_STAMPS = Fraction(3, 2)
"""A nominal duration that is longer by more than the packets' mean one is that between stamps, not between frames."""


@dataclass
class _Extent:
    """Of one epoch in one stream, ticks of that stream, as stamped."""

    start: int | None = None
    end: int | None = None

    def take(self, pts: int, duration: int) -> None:
        if self.start is None or pts < self.start:
            self.start = pts
        if self.end is None or pts + duration > self.end:
            self.end = pts + duration


@dataclass
class _EpochAccount:
    first_packet: int
    occupied: OccupiedTime
    """By the video, as stamped."""
    extents: dict[int, _Extent] = field(default_factory=dict)
    """By index of the stream; of those that play all the time, video and sound."""
    anchors: list[Anchor] = field(default_factory=list)
    """Placed as stamped."""


class StampedWalk:
    """Follows the clocks; notes the keyframes that no frame before them can have pushed out of place."""

    def __init__(self, container: InputContainer, stream: VideoStream, frame_ticks: Fraction, lead: int) -> None:
        self._stream, self._frame_ticks, self._unstamped_first = stream, frame_ticks, lead
        bases = {each.index: each.time_base for each in container.streams if each.time_base}
        self._bases = bases
        self._longest_duration = max(frame_ticks, _LONGEST_DURATION_SECONDS / bases[stream.index])
        self._fields = FieldPairs(stream)
        self._counts_from_seeks = container.format.name in _COUNTING_FROM_SEEKS or bool(
            container.format.flags & _NO_TIMESTAMPS
        )
        self._finder = EpochFinder(container.format.name, stream.index, bases)
        self._timed = {each.index for each in (*container.streams.audio, stream)}
        self._epochs = [_EpochAccount(0, OccupiedTime(bases[stream.index]))]
        self._ends: dict[int, int] = {}  # ticks, of every stream, in the first epoch
        self._intra = True  # so far
        self._packets = self._missing = self._repeated = self._not_risen = self._stepped_back = self._corrupt = 0
        self._last_dts: int | None = None
        self._catching_up_to: int | None = None  # pts that a clock which stepped back a little had reached before
        self._missing_in_a_row = 0
        self._stamped: list[tuple[int, int]] = []  # number and dts of the first and the latest packet with a stamp
        self._latest: int | None = None
        self._last_pts: int | None = None
        self._excess = 0  # ticks by which a frame may by now be placed after its stamp
        self._recent: deque[int] = deque(maxlen=_DUPLICATES_WITHIN)

    def take(self, packet: Packet) -> None:
        if packet.stream_index == self._stream.index and packet.pts is not None:
            # Also second fields and pictures that an edit list hides: others refer to them.
            self._last_pts = packet.pts if self._last_pts is None else max(self._last_pts, packet.pts)
        if packet.stream_index not in self._bases or packet.is_discard:
            return
        self._corrupt += packet.is_corrupt
        epoch = self._finder.epoch_of(packet)
        while len(self._epochs) <= epoch:
            self._epochs.append(_EpochAccount(-1, OccupiedTime(self._bases[self._stream.index])))
        account = self._epochs[epoch]
        if packet.stream_index == self._stream.index:
            if account.first_packet < 0:
                account.first_packet, self._latest = self._packets, None
                self._last_dts = self._catching_up_to = None
                self._recent.clear()
            if not self._fields.is_second(packet):
                self._take_video(packet, account)
                self._packets += 1
        if packet.pts is not None and epoch == 0:
            end = packet.pts + (packet.duration or 0)
            self._ends[packet.stream_index] = max(end, self._ends.get(packet.stream_index, end))
        if packet.pts is not None and packet.stream_index in self._timed:
            duration = packet.duration or 0
            if packet.stream_index == self._stream.index and not 0 < duration <= self._longest_duration:
                duration = math.ceil(self._frame_ticks)
            account.extents.setdefault(packet.stream_index, _Extent()).take(packet.pts, duration)

    def _take_video(self, packet: Packet, account: _EpochAccount) -> None:
        pts = packet.pts
        self._intra &= packet.is_keyframe
        self._look_for_step_back(packet.dts)
        if pts is None:
            self._take_unstamped()
            return
        self._missing_in_a_row = 0
        account.occupied.take(pts)
        self._stamped[1:] = [(self._packets, pts if packet.dts is None else packet.dts)]
        if pts in self._recent:
            self._repeated += 1
            self._excess += 1
        self._recent.append(pts)
        if packet.is_keyframe:
            self._take_keyframe(packet, pts, account)
        self._latest = pts if self._latest is None else max(self._latest, pts)

    def _take_keyframe(self, packet: Packet, pts: int, account: _EpochAccount) -> None:
        """An anchor when no frame before it, all of which are coded by now, can be placed at or after its stamp."""
        pushed = 0
        if self._latest is not None:
            pushed = max(0, self._latest + self._excess + 1 - pts)
        elif self._excess:
            pushed = self._excess
        if not pushed:
            position = -1 if packet.pos is None else packet.pos
            anchor = Anchor(self._packets, position, packet.dts, pts)
            note_anchor(account.anchors, anchor, self._stream, intra=self._intra)
        self._excess = pushed

    def _look_for_step_back(self, dts: int | None) -> None:
        """Note a clock that goes back by too little to be one set anew.

        Each frame until it has caught up may be shown a tick after the one before, instead of at its stamp.
        """
        if dts is None:
            return
        if self._last_dts is not None and dts <= self._last_dts:
            self._not_risen += 1
            self._stepped_back += dts < self._last_dts  # MPEG-PS begins with one that stands: its pts are even
            self._catching_up_to = self._latest
        self._last_dts = dts
        if self._catching_up_to is not None and dts <= self._catching_up_to:
            self._excess += 1

    def _take_unstamped(self) -> None:
        """Its frame is put between two others, which may need a tick; or a nominal frame after the one before, where
        no stamp may come within `FRAMES_AHEAD` frames.
        """
        self._missing += 1
        if self._missing <= self._unstamped_first:
            return
        self._missing_in_a_row += 1
        self._excess += 1
        surely_ahead = FRAMES_AHEAD - 2 * _DEEPEST_REORDER
        if self._missing_in_a_row > surely_ahead:
            frames = 1 if self._missing_in_a_row > surely_ahead + 1 else FRAMES_AHEAD + 1
            self._excess += math.ceil(frames * self._frame_ticks)

    def scan(self) -> Scan:
        while len(self._epochs) > 1 and self._epochs[-1].first_packet < 0:
            del self._epochs[-1]  # only other streams' clocks said so
        ticks = self._measured_ticks()
        self._frame_ticks = ticks or self._frame_ticks
        shifts = self._shifts()
        epochs = tuple(Epoch(account.first_packet, shift) for account, shift in zip(self._epochs, shifts, strict=True))
        placed = [
            (extent.start + shift, extent.end + shift)
            for account, shift in zip(self._epochs, shifts, strict=True)
            if (extent := account.extents.get(self._stream.index))
            and extent.start is not None
            and extent.end is not None
        ]
        unstamped = math.ceil(self._unstamped_first * self._frame_ticks)
        anchors = None
        regular = not (len(epochs) > 1 or shifts[0] or self._missing or self._repeated or self._not_risen)
        if not regular or self._counts_from_seeks:
            anchors = tuple(
                Anchor(anchor.packet, anchor.position, anchor.dts, anchor.pts + shift)
                for account, shift in zip(self._epochs, shifts, strict=True)
                for anchor in account.anchors
            )
        return Scan(
            Timeline(
                epochs=epochs,
                anchors=anchors,
                misled_by_seeks=regular and self._counts_from_seeks,
                last_pts=self._last_pts if anchors is None else None,
                remarks=tuple(self._remarks()),
            ),
            min((start - unstamped for start, _ in placed), default=None),
            max((end for _, end in placed), default=None),
            max((end * self._bases[index] for index, end in self._ends.items()), default=None)
            if len(epochs) == 1
            else None,
            frame_ticks=ticks,
            occupied=united(
                [
                    stretch
                    for account, shift in zip(self._epochs, shifts, strict=True)
                    for stretch in account.occupied.stretches(shift)
                ]
            ),
        )

    def _measured_ticks(self) -> Fraction | None:
        """Nominal duration of a frame by the packets' number, where stamps lack: FFmpeg guesses it from the stamps."""
        if self._missing <= self._unstamped_first or len(self._epochs) > 1 or len(self._stamped) < 2:
            return None
        (first, begin), (last, end) = self._stamped
        measured = Fraction(end - begin, last - first)
        return measured if 0 < measured * _TOO_FEW_STAMPS < self._frame_ticks else None

    def _shifts(self) -> list[int]:
        """Ticks that place each epoch: where the one before ends in all streams, or where the clock itself tells."""
        shifts = [self._lead()]
        for number, offset in enumerate(self._finder.joins[: len(self._epochs) - 1], 1):
            before, after = self._epochs[number - 1], self._epochs[number]
            if offset is None:
                ends = [e.end * self._bases[i] for i, e in before.extents.items() if e.end is not None]
                starts = [e.start * self._bases[i] for i, e in after.extents.items() if e.start is not None]
                gap = max(ends, default=Fraction(0)) - min(starts, default=Fraction(0))
                offset = math.ceil(gap / self._bases[self._stream.index])
            shifts.append(shifts[-1] + offset)
        return shifts

    def _lead(self) -> int:
        """Ticks by which everything must be later so that nothing is before 0, where no result can hold it.

        There are the frames before the first that has a stamp (FFmpeg tells no times before 0 of Matroska), and what a
        clock showed that ran over soon after its start: FFmpeg tells such a start as negative.
        """
        first = self._epochs[0].extents.get(self._stream.index, _Extent()).start
        if first is None:
            return 0
        unstamped = math.ceil(self._unstamped_first * self._frame_ticks)
        lead = max(0, unstamped - first)
        if first < 0:  # sound that began a little earlier then is before 0 too
            base = self._bases[self._stream.index]
            starts = [
                e.start * self._bases[i] / base for i, e in self._epochs[0].extents.items() if e.start is not None
            ]
            lead = max(lead, math.ceil(-min(starts)))
        return lead

    def _remarks(self) -> list[str]:
        remarks = []
        resets = sum(offset is None for offset in self._finder.joins[: len(self._epochs) - 1])
        if resets:
            remarks.append(
                f"its clock was set anew {counted(resets, 'time')}: what comes after was placed behind what came "
                "before, in every stream by the same time"
            )
        if lead := self._lead():
            seconds = float(lead * self._bases[self._stream.index])
            remarks.append(f"its first frames have a time before 0, or none: every stream was moved by {seconds:g} s")
        if self._corrupt:
            are = counted(self._corrupt, "packet is", "packets are")
            remarks.append(f"{are} incomplete or damaged in the container itself")
        if self._missing:
            have = counted(self._missing, "video packet has", "video packets have")
            remarks.append(f"{have} no timestamp: such frames were placed by the order")
        if self._repeated:
            repeat = counted(self._repeated, "video packet repeats", "video packets repeat")
            remarks.append(f"{repeat} a timestamp: such frames come a tick later")
        if self._stepped_back:
            remarks.append(
                f"its clock steps back by less than a second {counted(self._stepped_back, 'time')}: frames come a tick "
                "apart until it has caught up"
            )
        return remarks
