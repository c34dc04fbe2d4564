"""Which sets of weights an expert is made of, and what identifies the mixture."""

from __future__ import annotations

import pytest

from weights import mixed_sha256, weight_sets

FAITHFUL, NATURAL = "a" * 64, "b" * 64
SETS = {"expert_t_faithful": FAITHFUL, "expert_t_natural": NATURAL}


def test_between_the_ends_both_sets_have_their_share() -> None:
    assert weight_sets("expert_t", 0.25) == {"expert_t_faithful": 0.25, "expert_t_natural": 0.75}


def test_at_an_end_one_set_stands_alone_and_keeps_its_hash() -> None:
    assert weight_sets("expert_f", 1) == {"expert_f_faithful": 1}
    assert weight_sets("expert_f", 0) == {"expert_f_natural": 1}
    assert mixed_sha256({"expert_f_natural": NATURAL}, 0) == NATURAL


@pytest.mark.parametrize("fidelity", [-0.1, 1.5, float("nan")])
def test_a_fidelity_outside_of_its_range_is_refused(fidelity: float) -> None:
    with pytest.raises(ValueError, match="expected 0 to 1"):
        weight_sets("expert_t", fidelity)


def test_either_set_and_the_fidelity_decide_the_hash_of_a_mixture() -> None:
    mixed = mixed_sha256(SETS, 0.5)
    assert len(mixed) == 64
    assert mixed == mixed_sha256(dict(reversed(SETS.items())), 0.5)
    others = {
        mixed_sha256(SETS, 0.25),
        mixed_sha256({**SETS, "expert_t_natural": FAITHFUL}, 0.5),
        mixed_sha256({**SETS, "expert_t_faithful": NATURAL}, 0.5),
        mixed_sha256({"expert_t_faithful": NATURAL, "expert_t_natural": FAITHFUL}, 0.5),
    }
    assert len(others) == 4
    assert mixed not in others
