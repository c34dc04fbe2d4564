"""The times of a video's frames, many hours of them, in little memory."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator

import numpy as np

_BLOCK = 1 << 12
"""Times that are packed together."""

_KINDS = (np.uint8, np.uint16, np.int32, np.int64)
"""Of steps, the narrowest first; most rise, so the narrow ones hold none below 0."""


class TickList:
    """Times in ticks, 64 bits each, kept as the steps from one to the next.

    At an even rate they take next to nothing, at others a byte or two each where the clock is as fine as containers'
    are. They are unpacked a block of 4096 at a time.
    """

    def __init__(self, ticks: Iterable[int] = ()) -> None:
        self._packed: list[tuple[int, np.ndarray]] = []
        self._waiting: array[int] = array("q")
        self._unpacked: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))
        for tick in ticks:
            self.append(tick)

    def append(self, tick: int) -> None:
        """Add the next."""
        self._waiting.append(tick)
        if len(self._waiting) == _BLOCK:
            ticks = np.frombuffer(self._waiting, np.int64)
            self._packed.append((int(ticks[0]), _smallest(np.diff(ticks))))
            self._waiting = array("q")

    def __len__(self) -> int:
        return _BLOCK * len(self._packed) + len(self._waiting)

    def __getitem__(self, at: int) -> int:
        """The one at a place, counted from the end if below 0."""
        place = at + len(self) if at < 0 else at
        if not 0 <= place < len(self):
            raise IndexError(f"no place {at} among {len(self)}")
        number, within = divmod(place, _BLOCK)
        if number == len(self._packed):
            return self._waiting[within]
        if self._unpacked[0] != number:
            self._unpacked = (number, _unpacked(*self._packed[number]))
        return int(self._unpacked[1][within])

    def chunks(self) -> Iterator[np.ndarray]:
        """All of them, (up to 4096,) int64 at a time; two lists are cut at the same places."""
        for first, steps in self._packed:
            yield _unpacked(first, steps)
        if self._waiting:
            yield np.array(self._waiting, np.int64)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TickList):
            return NotImplemented
        pairs = zip(self.chunks(), other.chunks(), strict=False)
        return len(self) == len(other) and all(np.array_equal(left, right) for left, right in pairs)

    __hash__ = None  # type: ignore[assignment]  # it grows

    @property
    def rises(self) -> bool:
        """Whether each is above the one before."""
        last: int | None = None
        for chunk in self.chunks():
            if (last is not None and chunk[0] <= last) or not np.all(chunk[1:] > chunk[:-1]):
                return False
            last = int(chunk[-1])
        return True

    def bounds(self) -> tuple[int, int]:
        """The lowest and the highest; there must be one."""
        lowest, highest = zip(*((int(chunk.min()), int(chunk.max())) for chunk in self.chunks()), strict=True)
        return min(lowest), max(highest)

    def contain(self, ticks: np.ndarray) -> np.ndarray:
        """Which of (N,) int64 are in the list, (N,) bool. It must rise; only its blocks near them are unpacked."""
        if not len(ticks):
            return np.zeros(0, bool)
        firsts = [first for first, _ in self._packed]
        start, end = max(0, bisect_right(firsts, ticks.min()) - 1), bisect_right(firsts, ticks.max())
        near = [_unpacked(*block) for block in self._packed[start:end]]
        rising = np.concatenate([*near, np.array(self._waiting, np.int64)])
        if not len(rising):
            return np.zeros(len(ticks), bool)
        return rising[np.minimum(np.searchsorted(rising, ticks), len(rising) - 1)] == ticks


def _smallest(steps: np.ndarray) -> np.ndarray:
    """Steps in the smallest type that holds them; one for all that are equal."""
    lowest, highest = int(steps.min()), int(steps.max())
    kind = next(kind for kind in _KINDS if np.iinfo(kind).min <= lowest and highest <= np.iinfo(kind).max)
    return steps[: 1 if lowest == highest else None].astype(kind)


def _unpacked(first: int, steps: np.ndarray) -> np.ndarray:
    ticks = np.empty(_BLOCK, np.int64)
    ticks[0], ticks[1:] = first, steps
    return np.cumsum(ticks)
