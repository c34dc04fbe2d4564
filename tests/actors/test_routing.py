"""The routing table of the design, cell by cell, and a track that keeps to its decision."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from actors.routing import (
    MEMORY,
    WINDOW_RADIUS,
    Decision,
    RoutingBounds,
    Tier,
    decide,
    route_track,
    tier_of,
    windowed_median,
)

BOUNDS = RoutingBounds(q_low=100)
BOUNDED = settings(max_examples=150, deadline=None, derandomize=True)
widths = st.floats(1, 400)
sharpnesses = st.floats(0, 1000)


@pytest.mark.parametrize(
    ("width", "sharpness", "tier", "decision"),
    [
        (49.99, 0, Tier.TINY, Decision.SKIP),
        (49.99, 999, Tier.TINY, Decision.SKIP),
        (50, 0, Tier.SMALL, Decision.EXPERT_T),
        (50, 999, Tier.SMALL, Decision.EXPERT_T),
        (99.99, 999, Tier.SMALL, Decision.EXPERT_T),
        (100, 99.99, Tier.MEDIUM, Decision.EXPERT_T),
        (100, 100, Tier.MEDIUM, Decision.EXPERT_F),
        (149.99, 99.99, Tier.MEDIUM, Decision.EXPERT_T),
        (149.99, 100, Tier.MEDIUM, Decision.EXPERT_F),
        (150, 0, Tier.LARGE, Decision.RESIZE),
        (150, 999, Tier.LARGE, Decision.RESIZE),
        (4000, 999, Tier.LARGE, Decision.RESIZE),
    ],
)
def test_the_table(width: float, sharpness: float, tier: Tier, decision: Decision) -> None:
    assert tier_of(width, BOUNDS) is tier
    assert decide(tier, sharpness, BOUNDS) is decision
    assert route_track([width], [sharpness], BOUNDS) == [(tier, decision)]


def test_the_bounds_are_configuration() -> None:
    bounds = RoutingBounds(w_skip=20, w_medium=40, w_resize=80, q_low=5)
    assert [tier_of(width, bounds) for width in (19, 20, 40, 80)] == list(Tier)
    assert decide(Tier.MEDIUM, 5, bounds) is Decision.EXPERT_F


@pytest.mark.parametrize(
    "wrong",
    [
        {"w_skip": 120},
        {"w_medium": 200},
        {"w_resize": 90},
        {"w_skip": 0},
        {"q_low": -1},
        {"hysteresis": 0.5},
        {"q_lo": 3},
    ],
)
def test_bounds_that_make_no_table_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        RoutingBounds.model_validate(wrong)


@BOUNDED
@given(st.lists(st.floats(97, 103), min_size=1, max_size=30))
def test_a_state_once_taken_is_kept_about_a_bound(wobble: list[float]) -> None:
    for state in (Tier.SMALL, Tier.MEDIUM):
        assert {tier_of(width, BOUNDS, state) for width in wobble} == {state}


def hops(states: Sequence[object]) -> int:
    return sum(before != after for before, after in pairwise(states))


def test_a_track_that_jitters_about_a_bound_changes_less_often_than_its_measurements() -> None:
    kept = measured = medians = 0
    for seed in range(8):
        widths = list(np.random.default_rng(seed).uniform(98, 102, 60))
        kept += hops([tier for tier, _ in route_track(widths, [0.0] * 60, BOUNDS)])
        measured += hops([tier_of(width, BOUNDS) for width in widths])
        medians += hops([tier_of(width, BOUNDS) for width in windowed_median(widths)])
    assert kept < medians * 2 / 3
    assert kept < measured / 4


def test_a_steady_face_is_where_the_table_puts_it() -> None:
    for width, tier in ((49, Tier.TINY), (51, Tier.SMALL), (99, Tier.SMALL), (101, Tier.MEDIUM), (151, Tier.LARGE)):
        assert {found for found, _ in route_track([width] * 9, [50.0] * 9, BOUNDS)} == {tier}


def test_a_face_that_grows_changes_once_a_bound() -> None:
    grown = [tier for tier, _ in route_track([40 + 2 * k for k in range(70)], [50.0] * 70, BOUNDS)]
    assert (grown[0], grown[-1], hops(grown)) == (Tier.TINY, Tier.LARGE, 3)
    shrunk = [tier for tier, _ in route_track([178 - 2 * k for k in range(70)], [50.0] * 70, BOUNDS)]
    assert (shrunk[0], shrunk[-1], hops(shrunk)) == (Tier.LARGE, Tier.TINY, 3)


def test_sharpness_about_its_bound_does_not_hop_either() -> None:
    assert decide(Tier.MEDIUM, 96, BOUNDS, Decision.EXPERT_F) is Decision.EXPERT_F
    assert decide(Tier.MEDIUM, 93, BOUNDS, Decision.EXPERT_F) is Decision.EXPERT_T
    assert decide(Tier.MEDIUM, 104, BOUNDS, Decision.EXPERT_T) is Decision.EXPERT_T
    assert decide(Tier.MEDIUM, 107, BOUNDS, Decision.EXPERT_T) is Decision.EXPERT_F


@BOUNDED
@given(widths, st.sampled_from(list(Tier)))
def test_far_from_every_bound_the_past_does_not_count(width: float, previous: Tier) -> None:
    limits = (BOUNDS.w_skip, BOUNDS.w_medium, BOUNDS.w_resize)
    if all(abs(width - limit) > BOUNDS.hysteresis * limit for limit in limits):
        assert tier_of(width, BOUNDS, previous) is tier_of(width, BOUNDS)


@BOUNDED
@given(st.lists(st.tuples(widths, sharpnesses), min_size=1, max_size=30), st.data())
def test_a_decision_follows_from_its_neighbourhood_alone(
    measured: list[tuple[float, float]], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(measured) - 1))
    first = max(0, at - MEMORY - 2 * WINDOW_RADIUS)
    last = at + 2 * WINDOW_RADIUS + 1
    whole = route_track([w for w, _ in measured], [q for _, q in measured], BOUNDS)
    near = measured[first:last]
    assert route_track([w for w, _ in near], [q for _, q in near], BOUNDS)[at - first] == whole[at]


@BOUNDED
@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=20))
def test_one_outlier_does_not_move_the_median(values: list[float]) -> None:
    assert len(windowed_median(values)) == len(values)
    assert windowed_median(values)[0] == values[0]
    steady = [7.0] * len(values)
    steady[2] = values[0]
    assert set(windowed_median(steady)) == {7.0}
