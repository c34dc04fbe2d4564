"""When the frames of a video are shown, where its packets' timestamps alone do not tell.

Most files are regular: every packet has a timestamp of its own, and in the order of showing they rise. Then a frame's
pts is its packet's, and reading may begin at any keyframe. Three things break that, and a `Timeline` describes them:

    clock set anew     recordings joined end to end, a transport stream whose clock was reset. Each stretch of running
                       clock is an `Epoch`; a shift places it after everything that went before.
    stamps that lack   or stand twice, step back a little, or are wrong in a single packet. The frame goes where the
                       order of showing wants it, as near to its stamp as it can (`placing.place_stamped`).
    no stamps at all   raw H.264 and HEVC, or stamps that count packets, as AVI's do under H.264. The frames are
                       counted in the order of showing (`placing.CountedPlacer`).

In such videos what a frame's pts is may depend on frames before it, so reading begins only at an `Anchor`: a keyframe
from which on it does not. This is what makes the frames of any two shards those of one reading of the whole file.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from fractions import Fraction

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
    """In order of time; None when every keyframe is one, which is so in most regular files."""
    misled_by_seeks: bool = False
    """Whether the file is regular, and still reading begins only at anchors: its demuxer counts times from where a seek
    sent it, not from what is there."""
    last_pts: int | None = None
    """Highest of the video packets, in a file without anchors; None when not known. Behind damage a seek may reach
    packets that reading on never comes to: they are not part of the video."""
    has_outliers: bool = False
    """Whether single packets of the video have a wrong stamp (`clocks.OutlierFilter`)."""
    remarks: tuple[str, ...] = ()
    """What about the timestamps is worth telling, for the manifest."""

    def __post_init__(self) -> None:
        if not self.epochs or self.epochs[0].first_packet != 0:
            raise ValueError("the first epoch begins with the first packet")

    @property
    def regular(self) -> bool:
        """Whether every packet's own timestamp is its frame's pts."""
        return self.anchors is None or self.misled_by_seeks

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
