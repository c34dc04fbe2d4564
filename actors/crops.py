"""What an expert is shown of a face.

An expert draws a little differently what it is shown a little differently: two px more at one side, and every detail of
the face changes by some tenths of a grey level. So where a face stays in its place, it is shown in the same rectangle
frame after frame, though its box wavers; where it moves, the rectangle goes along.
"""

from __future__ import annotations

from actors.geometry import Placement, Rect
from actors.tracking import TrackTimeline

STILL_STEP = 8
"""Edges of the rectangle of a face that stays are at multiples of so many px: experts fill crops up to such sides
anyway, and what wavers rarely passes one."""


def crop_of(timeline: TrackTimeline, pts: int, placement: Placement) -> Rect:
    """The source pixels that an expert is shown of a track's face at `pts`, at which it is there."""
    at = timeline.position(pts)
    assert at is not None
    still = timeline.still_box_at(pts)
    if still is None:
        return placement.crop_rect(timeline.box_at(pts), timeline.tiles[at])
    return placement.crop_rect(still, timeline.tiles[at], step=STILL_STEP)
