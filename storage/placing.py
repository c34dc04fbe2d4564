"""Giving frames, in the order of showing, their pts: by the stamps they have, or by counting."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction

from av.video.frame import VideoFrame

FRAMES_AHEAD = 48
"""How many frames without a stamp are held until the next stamp comes. MPEG-TS may leave out 0.7 seconds of them."""


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

    def fed(self, stamp: int) -> None:
        """The next packet goes to the decoder."""
        self._stamps.append(stamp)

    def closed(self, packet: int | None) -> None:
        """A packet that was fed is known for a closed keyframe (`coded_pictures.ClosedKeyframes`)."""
        if packet is not None:
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
