"""Smoothing over time: what is still becomes stiller, what moves stays where it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.smoothing import REACH, STAYING_REACH, STILL, TOLERANCE, smoothed

BOUNDED = settings(max_examples=80, deadline=None, derandomize=True)
WIDTH = 100.0
MOVES = STILL * WIDTH
"""Px by which a face must waver not to be one that stays."""


def along(values: np.ndarray) -> np.ndarray:
    """(N,) values of a face 100 px wide, smoothed."""
    return smoothed(values[:, None], np.full(len(values), WIDTH))[:, 0]


@BOUNDED
@given(st.integers(1, 20), st.floats(-500, 500), st.floats(-40, 40).filter(lambda speed: abs(speed) * REACH > MOVES))
def test_even_motion_is_returned_as_it_is(count: int, start: float, speed: float) -> None:
    path = start + speed * np.arange(count)
    np.testing.assert_allclose(along(path), path, atol=1e-9)


def test_jitter_of_a_still_face_becomes_less_than_half() -> None:
    jitter = np.random.default_rng(3).normal(0, TOLERANCE * WIDTH / 3, 300)
    assert np.std(along(jitter)[REACH:-REACH]) < 0.45 * np.std(jitter)


def test_what_stays_is_averaged_up_to_where_it_moves_away() -> None:
    jitter = np.random.default_rng(3).normal(0, TOLERANCE * WIDTH / 3, 200)
    assert np.std(along(jitter)[STAYING_REACH:-STAYING_REACH]) < 0.3 * np.std(jitter)
    leaves = np.concatenate((np.zeros(12), np.full(12, 1.2 * MOVES)))
    found = along(leaves)
    np.testing.assert_allclose(found[: 12 - REACH], 0, atol=1e-9)
    np.testing.assert_allclose(found[12 + REACH :], 1.2 * MOVES, atol=1e-9)


def test_a_still_face_is_as_steady_at_its_tracks_ends_as_elsewhere() -> None:
    tracks = np.random.default_rng(3).normal(0, TOLERANCE * WIDTH / 3, (200, 20))
    found = np.array([along(track) for track in tracks])
    assert np.abs(tracks - found)[:, 0].max() > 0.2
    assert found[:, 0].std() < 0.6 * tracks[:, 0].std()
    assert found[:, 10].std() < 0.4 * tracks[:, 10].std()


@BOUNDED
@given(st.floats(-0.375, 0.375))
def test_a_drift_that_passes_for_stillness_is_off_by_little_at_an_end_alone(speed: float) -> None:
    path = speed * np.arange(30)
    inner = slice(STAYING_REACH, -STAYING_REACH)
    np.testing.assert_allclose(along(path)[inner], path[inner], atol=1e-9)
    np.testing.assert_allclose(along(path), path, atol=MOVES / 2)


@pytest.mark.parametrize(
    "path",
    [
        np.minimum(np.arange(30) * 12.0, 180),  # stops
        np.abs(np.arange(30) * 12.0 - 180),  # turns round
        np.arange(30) ** 2 * 2.0,  # accelerates
        40 * np.sin(np.arange(30)),  # swings, six grid points a period
        np.repeat([0.0, 60.0], 15),  # jumps
    ],
    ids=["stops", "turns round", "accelerates", "swings", "jumps"],
)
def test_what_moves_unevenly_stays_in_its_place(path: np.ndarray) -> None:
    assert np.abs(along(path) - path).max() < 2 * TOLERANCE * WIDTH


def test_nothing_overshoots() -> None:
    path = np.repeat([0.0, 60.0], 15) + np.random.default_rng(5).uniform(-0.2, 0.2, 30)
    found = along(path)
    assert found.min() >= path.min()
    assert found.max() <= path.max()


@pytest.mark.parametrize("speed", [0.0, 5.0])
def test_a_single_detection_that_is_off_is_put_back(speed: float) -> None:
    path = speed * np.arange(15)
    off = path.copy()
    off[7] += 20
    np.testing.assert_allclose(along(off), path, atol=TOLERANCE * WIDTH)


@BOUNDED
@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_past_and_future_count_alike(count: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 2, count).cumsum()
    np.testing.assert_allclose(along(values), along(values[::-1])[::-1], atol=1e-9)


@BOUNDED
@given(st.integers(0, 29), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.3, 2.0]))
def test_a_value_follows_from_its_neighbourhood_alone(at: int, seed: int, step: float) -> None:
    values = np.random.default_rng(seed).normal(0, step, 30).cumsum()
    first, last = max(0, at - STAYING_REACH), at + STAYING_REACH + 1
    assert along(values[first:last])[at - first] == along(values)[at]
