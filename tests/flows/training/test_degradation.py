from __future__ import annotations

import cv2
import numpy as np
import pytest

from flows.training.degradation import (
    BLURRED_FACES,
    HARD,
    MEDIUM,
    SHARPER_FACES,
    Degradation,
    DegradationRanges,
    add_noise,
    corrupt,
    draw_degradation,
    gaussian_kernel,
    motion_kernel,
    soften,
    unresize,
)

GREY = np.full((64, 64, 3), 128, np.uint8)


def spread(kernel: np.ndarray, angle: float) -> float:
    """Standard deviation of a kernel along a direction, px."""
    reach = kernel.shape[0] // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return float(np.sqrt((kernel * (x * np.cos(angle) + y * np.sin(angle)) ** 2).sum()))


@pytest.mark.parametrize("angle", [0.0, 0.6, np.pi / 2])
def test_a_gaussian_has_the_sigmas_it_was_asked_for(angle: float) -> None:
    kernel = gaussian_kernel(2.0, 1.0, angle)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert spread(kernel, angle) == pytest.approx(2.0, rel=0.05)
    assert spread(kernel, angle + np.pi / 2) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("angle", [0.0, 0.6, np.pi / 2])
def test_a_streak_has_its_length_along_its_angle_and_is_thin_across(angle: float) -> None:
    kernel = motion_kernel(6.0, angle)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert spread(kernel, angle) == pytest.approx(6 / np.sqrt(12), rel=0.15)
    assert spread(kernel, angle + np.pi / 2) < 0.5


def test_blur_does_not_shift_the_picture() -> None:
    point = np.zeros((33, 33, 3), np.uint8)
    point[16, 16] = 255
    blurred = soften(point, Degradation(blur_kernel=gaussian_kernel(1.5, 0.8, 0.4))).astype(float)[..., 0]
    y, x = np.mgrid[:33, :33]
    assert (blurred * x).sum() / blurred.sum() == pytest.approx(16, abs=0.05)
    assert (blurred * y).sum() / blurred.sum() == pytest.approx(16, abs=0.05)


def test_the_second_resize_undoes_the_size_of_the_first() -> None:
    smooth = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8), (0, 0), 4)
    degradation = Degradation(resize_factor=0.7)
    small = soften(np.asarray(smooth, np.uint8), degradation)
    assert small.shape == (34, 28, 3)
    restored = unresize(small, degradation, (48, 40))
    assert np.abs(restored[4:-4, 4:-4].astype(int) - smooth[4:-4, 4:-4]).mean() < 1.5


def test_noise_has_the_sigma_it_was_asked_for_and_no_bias() -> None:
    noisy = add_noise(GREY, Degradation(noise_sigma=5), np.random.default_rng(0)).astype(float)
    assert noisy.std() == pytest.approx(5, rel=0.05)
    assert noisy.mean() == pytest.approx(128, abs=0.2)


def test_grey_noise_moves_the_channels_together() -> None:
    noisy = add_noise(GREY, Degradation(noise_sigma=5, noise_grey=True), np.random.default_rng(0))
    np.testing.assert_array_equal(noisy[..., 0], noisy[..., 2])


def test_photon_noise_is_stronger_where_it_is_bright() -> None:
    halves = GREY.copy()
    halves[:, :32], halves[:, 32:] = 40, 200
    noisy = add_noise(halves, Degradation(noise_sigma=4, noise_shot=1.0), np.random.default_rng(0))
    assert noisy[:, 32:].std() > 1.8 * noisy[:, :32].std()


def test_nothing_drawn_changes_nothing() -> None:
    clean = Degradation()
    picture = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    unchanged = unresize(corrupt(soften(picture, clean), clean, np.random.default_rng(0)), clean, (20, 30))
    np.testing.assert_array_equal(unchanged, picture)


@pytest.mark.parametrize("ranges", [BLURRED_FACES, SHARPER_FACES])
def test_clean_faces_are_among_the_drawn(ranges: DegradationRanges) -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_degradation(ranges, rng) for _ in range(400)]
    clean = sum(not d.coded and d.blur_kernel is None and d.noise_sigma == 0 for d in drawn)
    assert clean / len(drawn) == pytest.approx(ranges.clean_share, abs=0.04)


def test_the_reference_conditions_lie_inside_what_expert_t_learns() -> None:
    for condition in (MEDIUM, HARD):
        for value, (low, high) in (
            (condition.blur_sigma, BLURRED_FACES.blur_sigma),
            (condition.noise_sigma, BLURRED_FACES.noise_sigma),
            (condition.crf, BLURRED_FACES.crf),
        ):
            assert low < value < high


def test_the_sharper_faces_are_degraded_less() -> None:
    assert SHARPER_FACES.blur_sigma[1] < BLURRED_FACES.blur_sigma[1]
    assert SHARPER_FACES.noise_sigma[1] < BLURRED_FACES.noise_sigma[1]
    assert SHARPER_FACES.crf[1] < BLURRED_FACES.crf[1]
