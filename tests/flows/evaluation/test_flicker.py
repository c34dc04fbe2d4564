from __future__ import annotations

import numpy as np
import pytest

from flows.evaluation.flicker import FRAMES, Clip, flicker, flicker_rows, make_clip, path
from flows.evaluation.restorers import BICUBIC, EXPERT_F, ROUTED
from flows.evaluation.samples import STRENGTHS
from flows.evaluation.subjects import Subject
from tests.flows.evaluation.conftest import BenchFixture


@pytest.fixture(scope="module")
def clip(subjects: list[Subject]) -> Clip:
    made = make_clip(subjects[1], 64, STRENGTHS["medium"], seed=0)
    assert made is not None
    return made


def test_the_path_is_smooth_and_between_pixels() -> None:
    steps = np.diff(path(60, 2.0), axis=0)
    assert np.abs(path(60, 2.0)).max() <= 2
    assert np.abs(steps).max() < 1.1
    assert np.abs(np.diff(steps, axis=0)).max() < 0.5
    assert (np.abs(path(FRAMES, 2.0) - np.round(path(FRAMES, 2.0))) > 0.01).any(axis=1).all()


def test_undoing_the_motion_leaves_little_of_the_truth(clip: Clip) -> None:
    still = flicker([frame.truth for frame in clip.frames], clip)
    frozen = Clip(clip.frames, np.zeros_like(clip.shifts))
    assert still < 0.35 * flicker([frame.truth for frame in clip.frames], frozen)


def test_the_face_moves_with_its_landmarks(clip: Clip) -> None:
    first, last = clip.frames[0], clip.frames[-1]
    np.testing.assert_allclose(last.landmarks - first.landmarks, np.tile(clip.shifts[-1] - clip.shifts[0], (5, 1)))


def test_fresh_noise_on_every_frame_flickers(clip: Clip) -> None:
    rng = np.random.default_rng(0)
    steady = [frame.truth for frame in clip.frames]
    noisy = [np.clip(frame + rng.normal(0, 8, frame.shape), 0, 255).astype(np.uint8) for frame in steady]
    assert flicker(noisy, clip) > flicker(steady, clip) + 3


def test_what_sharpens_noise_flickers_more_than_bicubic(subjects: list[Subject], made: BenchFixture) -> None:
    rows = flicker_rows(made.bench, [BICUBIC, EXPERT_F, ROUTED], subjects[1:2], 64, "hard", made.remembered, seed=0)
    assert [(row.restorer, row.n) for row in rows] == [(BICUBIC, 1), (EXPERT_F, 1), (ROUTED, 1)]
    assert rows[0].to_bicubic == 1
    assert rows[1].to_bicubic > 1.05
    restored = made.experts[EXPERT_F].restored
    again = flicker_rows(made.bench, [BICUBIC, EXPERT_F, ROUTED], subjects[1:2], 64, "hard", made.remembered, seed=0)
    assert again == rows
    assert made.experts[EXPERT_F].restored == restored


def test_no_clip_of_a_portrait_that_is_too_narrow(subjects: list[Subject], made: BenchFixture) -> None:
    assert flicker_rows(made.bench, [BICUBIC], subjects[:1], 200, "clean", made.remembered, seed=0) == []
