from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from actors.experts.architectures import Handling
from actors.experts.expert import AlignedFaceExpert, enlarge
from flows.evaluation.bench import samples_of
from flows.evaluation.restorers import EXPERT_T, ExpertChoice, ExpertRestorer
from flows.evaluation.subjects import Subject
from weights import WeightsError, read_registry, sha256_of


class Negative(nn.Module):
    """A face model of the template's size."""

    def forward(self, image: Tensor) -> Tensor:
        return 1 - image


@pytest.mark.parametrize("batched", [False, True])
def test_a_model_of_aligned_faces_works_where_the_face_is(subjects: list[Subject], batched: bool) -> None:
    handling = Handling(1, alone=True, channels_last=False)
    restorer = ExpertRestorer(AlignedFaceExpert(EXPERT_T, Negative(), "", handling=handling), batched=batched)
    assert restorer.uses_landmarks
    samples = samples_of(subjects, 64, "clean", seed=0)
    answers = restorer.restore([s.crop_rgb for s in samples], [s.crop_landmarks for s in samples])
    for sample, answer in zip(samples, answers, strict=True):
        nose_x, nose_y = sample.crop_landmarks[2]
        at = (slice(round(4 * nose_y) - 8, round(4 * nose_y) + 8), slice(round(4 * nose_x) - 8, round(4 * nose_x) + 8))
        plain = enlarge(sample.crop_rgb)[at].astype(float)
        assert abs(answer.image[at].mean() - (255 - plain.mean())) < 8
        assert np.abs(answer.image[at] - plain).mean() > 10


def test_a_model_may_be_given_by_its_registered_name_or_its_path() -> None:
    entry = read_registry()["expert_t_natural"]
    for given in (entry.name, str(entry.path)):
        assert sha256_of(entry.path) in ExpertChoice(weights_t=given).load(EXPERT_T).identity


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="neither a file nor a registered name"):
        ExpertChoice(weights_t=str(tmp_path / "none.pth")).load(EXPERT_T)
