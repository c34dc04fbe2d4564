from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from actors.experts.architectures import Handling
from actors.experts.expert import AlignedFaceExpert, enlarge
from flows.evaluation.bench import samples_of
from flows.evaluation.restorers import EXPERT_T, ExpertChoice, ExpertRestorer
from flows.evaluation.subjects import Subject
from weights import WeightsError, read_registry, sha256_of


class Pencil(nn.Module):
    """A face model of the template's size that draws fine stripes in its middle, where the nose is."""

    def forward(self, image: Tensor) -> Tensor:
        stripes = torch.zeros_like(image)
        stripes[..., 192:384, 160:352] = 0.2 * ((torch.arange(192) // 3 % 2)[:, None] - 0.5)
        return image + stripes


@pytest.mark.parametrize("batched", [False, True])
def test_a_model_of_aligned_faces_works_where_the_face_is(subjects: list[Subject], batched: bool) -> None:
    handling = Handling(1, alone=True, channels_last=False)
    restorer = ExpertRestorer(AlignedFaceExpert(EXPERT_T, Pencil(), "", handling=handling), batched=batched)
    assert restorer.uses_landmarks
    samples = samples_of(subjects, 64, "clean", seed=0)
    answers = restorer.restore([s.crop_rgb for s in samples], [s.crop_landmarks for s in samples])
    for sample, answer in zip(samples, answers, strict=True):
        drawn = answer.image.astype(float) - enlarge(sample.crop_rgb)
        nose_x, nose_y = (round(4 * place) for place in sample.crop_landmarks[2])
        assert drawn[nose_y - 8 : nose_y + 8, nose_x - 8 : nose_x + 8].std() > 8
        assert drawn[:8].std() < 4


def test_a_model_may_be_given_by_its_registered_name_or_its_path() -> None:
    entry = read_registry()["expert_t_natural"]
    for given in (entry.name, str(entry.path)):
        assert sha256_of(entry.path) in ExpertChoice(weights_t=given).load(EXPERT_T).identity


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="neither a file nor a registered name"):
        ExpertChoice(weights_t=str(tmp_path / "none.pth")).load(EXPERT_T)
