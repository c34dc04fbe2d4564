from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from flows.evaluation.bench import Measurement
from flows.evaluation.calibration import calibrate
from flows.evaluation.chart import calibration_chart
from flows.evaluation.figures import Figures
from flows.evaluation.restorers import BICUBIC, EXPERT_F, EXPERT_T
from storage.errors import UsageError


def measured(f_wins_from: float, faces: int = 60) -> list[Measurement]:
    """Faces of rising sharpness; F is better on every figure from a sharpness on, T below it."""
    rng = np.random.default_rng(0)
    found = []
    for number, sharpness in enumerate(np.geomspace(5, 2000, faces)):
        for name in (BICUBIC, EXPERT_T, EXPERT_F):
            better = 0.0 if name == BICUBIC else 1.0
            better += 0.5 if name == EXPERT_F and sharpness >= f_wins_from else 0.0
            better += 0.5 if name == EXPERT_T and sharpness < f_wins_from else 0.0
            better += 0.01 * rng.standard_normal()
            figures = Figures(25 + better, 0.7, 0.5 - 0.1 * better, 0.7 + 0.05 * better, 0.1, 1.0)
            found.append(Measurement(name, name, f"{number}.png", "x", 120, "medium", float(sharpness), figures))
    return found


def coin_tosses() -> list[Measurement]:
    """Faces on which either expert is better by chance."""
    rng = np.random.default_rng(1)
    found = []
    for number, sharpness in enumerate(np.geomspace(5, 2000, 60)):
        for name in (BICUBIC, EXPERT_T, EXPERT_F):
            figures = Figures(25 + rng.standard_normal(), 0.7, 0.5, 0.7, 0.1, 1.0)
            found.append(Measurement(name, name, f"{number}.png", "x", 120, "medium", float(sharpness), figures))
    return found


@pytest.mark.parametrize("bound", [40.0, 300.0])
def test_the_bound_where_the_experts_change_places_is_found(bound: float) -> None:
    found = calibrate(measured(bound))
    assert found.best.q_low == pytest.approx(bound, rel=0.12)
    assert found.likely[0] <= found.best.q_low <= found.likely[1]
    assert found.likely[1] < 2 * found.likely[0]
    assert found.best.mean.score > max(found.always_t.mean.score, found.always_f.mean.score)
    assert found.ideal.score == pytest.approx(found.best.mean.score, abs=0.02)
    assert found.always_f.share_f == 1
    assert found.always_t.share_f == 0
    assert found.best.mean.psnr == pytest.approx(1.5, abs=0.01)


def test_where_one_expert_always_wins_every_face_goes_to_it() -> None:
    assert calibrate(measured(0.0)).best.share_f == 1
    assert calibrate(measured(1e9)).best.share_f == 0


def test_where_the_experts_do_not_differ_the_bound_is_said_to_be_unknown() -> None:
    low, high = calibrate(coin_tosses()).likely
    assert high > 4 * low


def test_faces_that_only_one_expert_restored_do_not_count() -> None:
    found = measured(100.0)
    assert calibrate(found[:-1]).faces == calibrate(found).faces - 1
    with pytest.raises(UsageError, match="--calibrate: only 0 faces"):
        calibrate([m for m in found if m.restorer != EXPERT_F])


def test_a_long_curve_is_thinned() -> None:
    assert len(calibrate(measured(100.0, faces=900)).points) <= 202


def test_the_chart_is_a_picture_with_the_best_and_the_present_bound() -> None:
    found = calibrate(measured(100.0))
    drawn = ElementTree.fromstring(calibration_chart(found, 150))
    words = [element.text for element in drawn.iter() if element.text]
    assert f"best {found.best.q_low:g}" in words
    assert "now 150" in words
    json.dumps(found.as_dict())
