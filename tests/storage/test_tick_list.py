"""A list of times gives back what was put in, whatever the steps between them, and takes little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from storage.tick_list import TickList

EVEN = np.arange(9000) * 3600 + 126000
UNEVEN = np.cumsum(np.random.default_rng(1).integers(1, 90, 9000))
FALLING = EVEN[::-1]
FAR = np.array([np.iinfo(np.int64).min, 0, np.iinfo(np.int64).max] * 3000)


@pytest.mark.parametrize("ticks", [EVEN, UNEVEN, FALLING, FAR, EVEN[:4096], EVEN[:4097], EVEN[:1], EVEN[:0]])
def test_what_was_put_in_comes_out(ticks: np.ndarray) -> None:
    kept = TickList(ticks.tolist())
    assert len(kept) == len(ticks)
    assert np.array_equal(np.concatenate([*kept.chunks(), np.empty(0, np.int64)]), ticks)
    for at in {*range(-len(ticks), len(ticks), 997), -len(ticks), len(ticks) - 1} if len(ticks) else ():
        assert kept[at] == ticks[at]
    with pytest.raises(IndexError):
        kept[len(ticks)]


def test_lists_are_equal_when_all_of_their_times_are() -> None:
    same, shorter = TickList(EVEN.tolist()), TickList(EVEN[:-1].tolist())
    later = TickList([*EVEN[:-1].tolist(), int(EVEN[-1]) + 1])
    assert same == TickList(EVEN.tolist())
    assert same not in (shorter, later)


@pytest.mark.parametrize(
    ("ticks", "rises"),
    [(EVEN, True), (UNEVEN, True), (FALLING, False), (np.r_[EVEN[:4096], EVEN[4095:]], False), (EVEN[:0], True)],
)
def test_a_list_rises_where_each_is_above_the_one_before(ticks: np.ndarray, rises: bool) -> None:
    assert TickList(ticks.tolist()).rises is rises


def test_bounds_are_of_all_blocks() -> None:
    assert TickList(np.r_[UNEVEN, -5].tolist()).bounds() == (-5, UNEVEN[-1])


@pytest.mark.parametrize("where", [slice(0, 50), slice(4000, 4200), slice(8990, None), slice(0, 0)])
def test_what_is_contained_is_told_from_what_is_not(where: slice) -> None:
    asked = np.repeat(EVEN[where], 2) + np.tile([0, 1], len(EVEN[where]))
    assert np.array_equal(TickList(EVEN.tolist()).contain(asked), np.tile([True, False], len(asked) // 2))
    assert not TickList(EVEN.tolist()).contain(EVEN + 10**9).any()


@pytest.mark.parametrize(("steps", "bytes_each"), [((3600, 3601), 1), ((1, 90), 2)])
def test_a_time_takes_a_byte_or_two(steps: tuple[int, int], bytes_each: float) -> None:
    many = np.cumsum(np.random.default_rng(1).integers(*steps, 180_000))
    tracemalloc.start()
    kept = TickList(int(tick) for tick in many)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == len(many)
    assert held < bytes_each * len(many)
