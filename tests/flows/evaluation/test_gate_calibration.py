from __future__ import annotations

import itertools
from collections.abc import Sequence
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from actors.geometry import Landmarks
from actors.identity import IdentityMeter
from actors.identity_gate import IdentityGate, Verdict
from actors.routing import RoutingBounds
from flows.evaluation import gate_calibration
from flows.evaluation.gate_calibration import (
    FARTHER_OFF,
    GOOD,
    OTHER_PERSON,
    SHUFFLED,
    WRONG_BY,
    Judged,
    Trial,
    gate_rows,
    with_face_of,
)
from flows.evaluation.progress import EvaluationProgress
from flows.evaluation.restorers import EXPERT_T, ExpertChoice, Restored, Restorer
from flows.evaluation.samples import Image, make_sample
from flows.evaluation.subjects import Subject
from flows.training.degradation import CLEAN
from storage.errors import UsageError
from tests.flows.evaluation.conftest import Sharpened


class Checkered:
    """A broken expert: a pattern over the enlarged crop."""

    identity, uses_landmarks = "checkered", False

    def restore(self, crops_rgb: Sequence[Image], landmarks: Sequence[Landmarks]) -> list[Restored]:
        restored = []
        for crop_rgb in crops_rgb:
            large = np.repeat(np.repeat(crop_rgb, 4, axis=0), 4, axis=1).astype(int)
            rows, columns = np.indices(large.shape[:2])
            pattern = np.where((rows + columns) % 2, 40, -40)[..., None]
            restored.append(Restored(np.clip(large + pattern, 0, 255).astype(np.uint8), None))
        return restored


def load(name: str) -> Restorer:
    return Checkered() if name.startswith("shuffled") else Sharpened(name, 0.3)


def test_good_faces_pass_and_a_pattern_does_not(subjects: list[Subject], identity: IdentityMeter) -> None:
    trial = Trial(widths=(50,), strengths=("clean",), peers=(), seed=0)
    progress = EvaluationProgress(Console(file=StringIO()), total=trial.work(subjects))
    judged = trial.run(subjects[:2], load, identity, RoutingBounds.model_validate({}), progress)
    rows = {row.kind: row for row in gate_rows(judged)}
    assert (rows[GOOD].n, rows[OTHER_PERSON].n, rows[SHUFFLED].n) == (6, 6, 6)
    assert (rows[GOOD].weakened, rows[SHUFFLED].weakened) == (0, 1)


class Repainted:
    """An expert that inverts a face, and with it all that it shows of the person."""

    identity, uses_landmarks = "repainted", False

    def restore(self, crops_rgb: Sequence[Image], landmarks: Sequence[Landmarks]) -> list[Restored]:
        large = (np.repeat(np.repeat(crop_rgb, 4, axis=0), 4, axis=1) for crop_rgb in crops_rgb)
        return [Restored(255 - image, None) for image in large]


def test_what_is_farther_from_its_original_than_the_source_does_not_count_as_good(
    subjects: list[Subject], identity: IdentityMeter
) -> None:
    trial = Trial(widths=(50,), strengths=("clean",), peers=("a peer",), seed=0)
    progress = EvaluationProgress(Console(file=StringIO()), total=trial.work(subjects))
    judged = trial.run(subjects[:2], lambda name: Repainted(), identity, RoutingBounds.model_validate({}), progress)
    kinds = [face.kind for face in judged]
    assert GOOD not in kinds
    assert kinds.count(FARTHER_OFF) == 6
    assert "a peer" not in kinds, "held to its source, it is as like its original as that"
    assert all(face.gain_shown == pytest.approx(face.gain) for face in judged if face.shown == 1)
    assert all(face.gain_shown == pytest.approx(0, abs=1e-6) for face in judged if face.shown == 0)


def load_or_repaint(name: str) -> Restorer:
    return Repainted() if name.startswith("shuffled") else load(name)


def test_a_frame_gets_what_the_witnesses_about_it_leave_it(
    subjects: list[Subject], identity: IdentityMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is gained is told of what is shown: of half the face, about half."""
    strengths = itertools.cycle((1.0, 0.5, 1.0))
    monkeypatch.setattr(IdentityGate, "judge", lambda *_: Verdict(next(strengths), 0.5, 0.6, ""))
    trial = Trial(widths=(50,), strengths=("medium",), peers=(), seed=0)
    progress = EvaluationProgress(Console(file=StringIO()), total=trial.work(subjects))
    judged = trial.run(subjects[:2], load_or_repaint, identity, RoutingBounds.model_validate({}), progress)
    broken = [face for face in judged if face.kind == SHUFFLED]
    assert [face.shown for face in broken] == [0.5] * 6
    assert all(face.gain_shown == pytest.approx(face.gain) for face in broken if face.shown == 1)
    assert all(face.gain < face.gain_shown < -1e-3 for face in broken if face.shown == 0.5)
    assert all(face.drop == pytest.approx(0.1) for face in judged)


def test_what_a_peer_makes_counts_as_planted_where_the_person_is_lost(
    subjects: list[Subject], identity: IdentityMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_calibration, "agreeing_patch", lambda patch_rgb, crop_rgb: patch_rgb)
    trial = Trial(widths=(50,), strengths=("clean",), peers=("shuffled", "like an expert"), seed=0)
    progress = EvaluationProgress(Console(file=StringIO()), total=trial.work(subjects))
    judged = trial.run(subjects[:2], load_or_repaint, identity, RoutingBounds.model_validate({}), progress)
    kinds = [face.kind for face in judged]
    assert kinds.count("shuffled") == 6
    assert "like an expert" not in kinds
    assert all(face.gain <= -WRONG_BY for face in judged if face.kind == "shuffled")


def test_one_face_alone_is_refused(subjects: list[Subject], identity: IdentityMeter) -> None:
    trial = Trial(widths=(50,), strengths=("clean",), peers=(), seed=0)
    progress = EvaluationProgress(Console(file=StringIO()), total=1)
    with pytest.raises(UsageError, match="two or more"):
        trial.run(subjects[:1], load, identity, RoutingBounds.model_validate({}), progress)


def test_the_pasted_face_is_where_the_restored_one_was(subjects: list[Subject]) -> None:
    sample = make_sample(subjects[0], 64, CLEAN, seed=0)
    assert sample is not None
    grey = np.full((4 * sample.crop.height, 4 * sample.crop.width, 3), 128, np.uint8)
    pasted = with_face_of(subjects[0], grey, sample)
    enlarged = load("x").restore([sample.crop_rgb], [sample.crop_landmarks])[0].image
    nose_x, nose_y = (round(4 * place) for place in sample.crop_landmarks[2])
    about = slice(nose_y - 12, nose_y + 12), slice(nose_x - 12, nose_x + 12)
    difference = np.abs(pasted[about].astype(int) - enlarged[about])
    assert difference.mean() < 0.5 * np.abs(grey[about].astype(int) - enlarged[about]).mean()
    np.testing.assert_array_equal(pasted[:4], 128)


def test_rows_are_of_each_kind_and_width() -> None:
    drops = (0.1, 0.2, 0.3)
    judged = [
        Judged(GOOD, width, "hard", drop, 1.0 if drop < 0.25 else 0.5, -drop, -drop / 2)
        for width in (50, 64)
        for drop in drops
    ]
    first, second = gate_rows(judged)
    assert (first.kind, first.width, first.n, first.drop_median, first.drop_most) == (GOOD, 50, 3, 0.2, 0.3)
    assert second.width == 64
    assert first.weakened == pytest.approx(1 / 3, abs=1e-4)
    assert first.worse == 1


def test_shuffled_weights_are_the_same_each_time_and_not_the_experts() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    (own,), (broken,), (again,) = (
        restorer.restore([crop], [()])
        for restorer in (
            ExpertChoice().load(EXPERT_T),
            ExpertChoice().load_shuffled(EXPERT_T),
            ExpertChoice().load_shuffled(EXPERT_T),
        )
    )
    np.testing.assert_array_equal(broken.image, again.image)
    assert np.abs(broken.image.astype(int) - own.image).mean() > 5
