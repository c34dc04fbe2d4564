from __future__ import annotations

import numpy as np
import pytest
from torch import Tensor, nn

from actors.experts import Expert
from actors.experts.expert import enlarge
from actors.experts.layers import bicubic_upscale
from flows.training.degradation import CLEAN, HARD, MEDIUM
from flows.training.portraits import Face
from flows.training.validation import SCALE, psnr, score, validation_samples


class Bicubic(nn.Module):
    scale, size_multiple = 4, 1

    def forward(self, image: Tensor) -> Tensor:
        return bicubic_upscale(image, 4)


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((8, 8, 3), np.uint8)
    assert psnr(black + np.uint8(51), black) == pytest.approx(20 * np.log10(5))
    assert psnr(black, black) == 99.0


def test_samples_have_the_width_asked_for_and_do_not_change_between_calls(face: Face) -> None:
    first, second = (validation_samples([face], 64, (CLEAN, MEDIUM), limit=5) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.bbox_xyxy[2] - one.bbox_xyxy[0] == pytest.approx(SCALE * 64, abs=SCALE)
        assert one.original_hr.shape[0] == SCALE * one.degraded_lr.shape[0]
        np.testing.assert_array_equal(one.degraded_lr, other.degraded_lr)


def test_a_face_too_narrow_for_the_width_is_not_enlarged(face: Face) -> None:
    sample = validation_samples([face], 110, (CLEAN,), limit=1)[0]
    assert sample.bbox_xyxy[2] - sample.bbox_xyxy[0] <= face.width + 1


def test_harder_conditions_leave_less(face: Face) -> None:
    samples = validation_samples([face], 64, (CLEAN, MEDIUM, HARD), limit=1)
    figures = [psnr(enlarge(sample.degraded_lr), sample.original_hr) for sample in samples]
    assert figures == sorted(figures, reverse=True)


def test_bicubic_itself_gains_nothing(face: Face) -> None:
    samples = validation_samples([face, face], 50, (CLEAN, HARD), limit=2)
    scores = score(Expert("expert_t", Bicubic(), ""), samples)
    assert [(s.condition, s.faces) for s in scores] == [("clean", 2), ("hard", 2)]
    assert all(abs(s.gain) < 0.02 for s in scores)
