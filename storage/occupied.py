"""Which stretches of a video's time have frames: shards of the others would be work for nothing.

Timestamps come from anybody. A few bytes of damage put frames hours apart, and shards of seconds between them would be
ten thousands, each of which is looked into. What is noted here decides nothing but how time is cut.
"""

from __future__ import annotations

from fractions import Fraction

Stretch = tuple[int, int]
"""[start, end) in ticks."""

_CELL_SECONDS = 10
"""Stretches begin and end at multiples of this: 36,000 cells at most, for the longest video that is taken."""


class OccupiedTime:
    """Gathers timestamps, in any order."""

    def __init__(self, time_base: Fraction) -> None:
        self._cell = max(1, round(_CELL_SECONDS / time_base))
        self._cells: set[int] = set()

    def take(self, pts: int) -> None:
        self._cells.add(pts // self._cell)

    def stretches(self, shift: int = 0) -> list[Stretch]:
        """What is occupied, one for each cell, moved by so many ticks."""
        return [(cell * self._cell + shift, (cell + 1) * self._cell + shift) for cell in self._cells]


def united(stretches: list[Stretch]) -> tuple[Stretch, ...]:
    """The same time, as stretches in order that do not touch."""
    found: list[Stretch] = []
    for start, end in sorted(stretches):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)
