"""What a walk over all packets of a source has found."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from av.video.stream import VideoStream

from storage.occupied import Stretch
from storage.timeline import Anchor, Timeline

_ANCHORS_APART_SECONDS = 1
"""Between two anchors that are noted: not every keyframe of many hours."""

_INTRA_ANCHORS_APART_SECONDS = Fraction(1, 4)
"""The same where every frame is a keyframe: reading begins at most so long before where it is wanted."""


@dataclass(frozen=True)
class Scan:
    """What the packets tell of a source."""

    timeline: Timeline
    first_pts: int | None
    """Lowest placed timestamp of the video; None when it has no packet with one."""
    end_pts: int | None
    """Where its last frame ends."""
    end_seconds: Fraction | None = None
    """Where the last packet of any stream ends, as placed; None when it is not told."""
    frame_ticks: Fraction | None = None
    """Nominal duration of a frame, where the packets tell a better one than the header."""
    streams: frozenset[int] = frozenset()
    """Indexes of the streams that have a packet."""
    occupied: tuple[Stretch, ...] = ()
    """Where the video's packets are, as placed; empty when none tells."""


def note_anchor(anchors: list[Anchor], anchor: Anchor, stream: VideoStream, *, intra: bool = False) -> None:
    """Enter an anchor, unless it follows the last one closely; one whose byte is known replaces one without."""
    assert stream.time_base is not None
    apart = _INTRA_ANCHORS_APART_SECONDS if intra else _ANCHORS_APART_SECONDS
    if not anchors or (anchor.pts - anchors[-1].pts) * stream.time_base >= apart:
        anchors.append(anchor)
    elif anchors[-1].position < 0 <= anchor.position:
        anchors[-1] = anchor
