from __future__ import annotations

import cv2
import numpy as np
import pytest

from actors.experts.expert import enlarge
from flows.evaluation.samples import HARD, MEDIUM, SCALE, STRENGTHS, make_sample
from flows.evaluation.subjects import Subject

CLEAN = STRENGTHS["clean"]


def named(subjects: list[Subject], name: str) -> Subject:
    return next(subject for subject in subjects if subject.name.endswith(name))


@pytest.mark.parametrize("width", [50, 64, 80, 100, 125])
def test_the_degraded_face_has_the_width_asked_for(subjects: list[Subject], width: int) -> None:
    sample = make_sample(named(subjects, "a.png"), width, CLEAN, seed=0)
    assert sample is not None
    ratio = sample.truth.shape[1] / sample.picture_lr.shape[1]
    assert sample.box.width / ratio == pytest.approx(width, abs=1)


def test_a_wide_portrait_makes_a_true_x4_pair_and_a_narrow_one_keeps_its_size(subjects: list[Subject]) -> None:
    subject = named(subjects, "a.png")  # 280 px
    pair, narrow = (make_sample(subject, width, CLEAN, seed=0) for width in (64, 100))
    assert pair is not None
    assert narrow is not None
    assert pair.truth.shape[:2] == tuple(SCALE * side for side in pair.picture_lr.shape[:2])
    np.testing.assert_array_equal(narrow.truth, subject.face.pixels_rgb)


def test_a_portrait_too_narrow_to_have_a_truth_is_left_out(subjects: list[Subject]) -> None:
    assert make_sample(named(subjects, "c.png"), 125, CLEAN, seed=0) is None  # 180 px
    assert make_sample(named(subjects, "c.png"), 120, CLEAN, seed=0) is not None


def test_noise_depends_on_seed_and_face_alone(subjects: list[Subject]) -> None:
    one, other = named(subjects, "a.png"), named(subjects, "b.png")
    first, again, reseeded = (make_sample(one, 64, HARD, seed=seed) for seed in (0, 0, 1))
    mirrored = make_sample(other, 64, HARD, seed=0)
    assert first is not None
    assert again is not None
    assert reseeded is not None
    assert mirrored is not None
    np.testing.assert_array_equal(first.picture_lr, again.picture_lr)
    assert (first.picture_lr != reseeded.picture_lr).any()
    assert (first.picture_lr != mirrored.picture_lr[:, ::-1]).any()


def test_stronger_degradations_leave_less(subjects: list[Subject]) -> None:
    made = [make_sample(named(subjects, "a.png"), 100, strength, seed=0) for strength in (CLEAN, MEDIUM, HARD)]
    blurred = [sample.sharpness for sample in made if sample is not None]
    assert blurred == sorted(blurred, reverse=True)


def test_an_answer_is_laid_where_its_crop_was_and_nothing_else_changes(subjects: list[Subject]) -> None:
    sample = make_sample(named(subjects, "a.png"), 64, MEDIUM, seed=0)
    assert sample is not None
    background = sample.overlaid(enlarge(sample.crop_rgb, cv2.INTER_CUBIC))
    painted = sample.overlaid(np.full_like(enlarge(sample.crop_rgb, cv2.INTER_CUBIC), 200))
    changed = (background != painted).any(axis=2)
    rows, columns = np.nonzero(changed)
    crop = sample.crop
    assert (columns.min(), rows.min()) >= (4 * crop.x0, 4 * crop.y0)
    assert (columns.max(), rows.max()) < (4 * crop.x1, 4 * crop.y1)
    assert (painted[4 * crop.y0 : 4 * crop.y1, 4 * crop.x0 : 4 * crop.x1] == 200).all()
    assert crop.x0 / 1 <= sample.box.x0 / 4 <= sample.box.x1 / 4 <= crop.x1


def test_an_answer_of_another_size_is_refused(subjects: list[Subject]) -> None:
    sample = make_sample(named(subjects, "a.png"), 64, MEDIUM, seed=0)
    assert sample is not None
    with pytest.raises(ValueError, match="expected"):
        sample.overlaid(sample.crop_rgb)


def test_landmarks_stay_on_the_face(subjects: list[Subject]) -> None:
    for subject in subjects:
        sample = make_sample(subject, 64, CLEAN, seed=0)
        assert sample is not None
        x, y = sample.landmarks.T
        assert (x > sample.box.x0).all()
        assert (x < sample.box.x1).all()
        assert (y > sample.box.y0).all()
        assert (y < sample.box.y1).all()
        assert x[0] < x[2] < x[1]  # left eye, nose, right eye, as seen


def test_landmarks_of_the_crop_are_those_of_the_portrait_in_the_convention_of_boxes(subjects: list[Subject]) -> None:
    subject = named(subjects, "a.png")
    sample = make_sample(subject, 64, CLEAN, seed=0)
    assert sample is not None
    height, width = subject.face.pixels_rgb.shape[:2]
    shrink = np.array([sample.picture_lr.shape[1] / width, sample.picture_lr.shape[0] / height])
    expected = (subject.landmarks + 0.5) * shrink - (sample.crop.x0, sample.crop.y0)
    np.testing.assert_allclose(sample.crop_landmarks, expected, atol=1e-9)
    assert np.all(expected > 0)
    assert np.all(expected < (sample.crop.width, sample.crop.height))
