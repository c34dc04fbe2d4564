"""Long stretches of a video without a frame, found in one walk over its packets."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

GAP_SECONDS = 10
"""Shorter stretches without a frame are not told."""

Interval = tuple[int, int]
"""[start, end) in ticks."""


class Presence:
    """The seconds in which a video has a frame: in memory a number each, so 36,000 for ten hours."""

    def __init__(self, time_base: Fraction) -> None:
        self._second = max(1, round(1 / time_base))
        self._seconds: set[int] = set()

    def take(self, pts: int) -> None:
        """Note a frame at `pts`."""
        self._seconds.add(pts // self._second)

    def stretches(self, shift: int) -> list[Interval]:
        """The noted seconds, in order, later by `shift` ticks."""
        return [(n * self._second + shift, (n + 1) * self._second + shift) for n in sorted(self._seconds)]


def gaps_between(stretches: Iterable[Interval], time_base: Fraction) -> tuple[Interval, ...]:
    """What lies between stretches, in order, and is longer than `GAP_SECONDS`."""
    gaps: list[Interval] = []
    reached: int | None = None
    for start, end in sorted(stretches):
        if reached is not None and (start - reached) * time_base > GAP_SECONDS:
            gaps.append((reached, start))
        reached = end if reached is None else max(reached, end)
    return tuple(gaps)
