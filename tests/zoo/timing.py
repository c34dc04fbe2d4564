"""Timing: specimens that are special in when their frames are shown, or in how the frames depend on each other."""

from __future__ import annotations

from fractions import Fraction

from tests.zoo.specimen import Specimen, clip

DAY_AND_NIGHT = [*range(25), *range(25, 75, 5), *range(75, 100)]

SPECIMENS: tuple[Specimen, ...] = (
    Specimen(
        "day and night.mkv",
        "timing",
        "CCTV: 25 frames a second by day, 5 by night",
        clip(pts=DAY_AND_NIGHT, rate=Fraction(25), b_frames=2),
    ),
)
