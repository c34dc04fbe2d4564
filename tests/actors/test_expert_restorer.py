"""An expert's crops reach it upright with their landmarks, and what it loads is what the job was named by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.expert_restorer import ExpertRestorer, loaded_expert
from actors.experts.expert import enlarge
from actors.experts.srnet import SRNet
from actors.geometry import Box, Landmarks, Rect, landmarks_in_crop
from actors.routing import Decision
from actors.work import ShardWork
from storage.encoding import SizeSettings
from tests.actors.test_work import SHARD, face
from weights import ExpertWeights, WeightsError, choose_weights, sha256_of

CROP = Rect(20, 30, 84, 86)


class Recorder:
    """An expert that only enlarges, and remembers what it was given."""

    uses_landmarks = False

    def restore(self, crops_rgb: Sequence[np.ndarray], landmarks: Sequence[Landmarks]) -> list[np.ndarray]:
        self.crops, self.landmarks = list(crops_rgb), list(landmarks)
        return [enlarge(crop_rgb) for crop_rgb in crops_rgb]


def work_of(rotation: int, marked: tuple[int, int]) -> ShardWork:
    """A face whose first landmark is on the one white pixel (x, y) of its crop."""
    probe = replace(SHARD.probe, rotation=rotation, width=160, height=120)
    crop_rgb = np.zeros((CROP.height, CROP.width, 3), np.uint8)
    x, y = marked
    crop_rgb[y, x] = 255
    places = ((CROP.x0 + x + 0.5, CROP.y0 + y + 0.5), *((50.0 + k, 60.0) for k in range(4)))
    box = Box(*map(float, CROP))
    one = replace(face(0, 0), crop=CROP, box=box, landmarks=places)
    return ShardWork(replace(SHARD, probe=probe), (one,), {0: crop_rgb}, frames=1, digest="")


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_landmarks_lie_on_the_same_pixels_of_the_crop_as_the_expert_sees_it(rotation: int) -> None:
    restorer = ExpertRestorer(Decision.EXPERT_T, SizeSettings(scale=4))
    recorder = Recorder()
    restorer._expert = recorder  # type: ignore[assignment]
    restored = restorer.restore(work_of(rotation, (11, 40)))
    (crop_rgb,), (landmarks,) = recorder.crops, recorder.landmarks
    x, y = landmarks[0]
    assert crop_rgb[int(y), int(x), 0] == 255
    # and the patch comes back the way the crop lies in the frame
    bright = np.unravel_index(restored.crops[0][..., 0].argmax(), restored.crops[0].shape[:2])
    assert abs(bright[0] / 4 - 40.5) < 1
    assert abs(bright[1] / 4 - 11.5) < 1


def test_landmarks_of_a_crop_that_lies_as_it_is_are_only_shifted() -> None:
    (one,) = work_of(0, (3, 5)).faces
    assert landmarks_in_crop(one.landmarks, one.crop, 0)[0] == (3.5, 5.5)


def test_a_job_may_put_another_model_in_an_experts_place(tmp_path: Path) -> None:
    path = tmp_path / "latest.pth"
    torch.save(SRNet(gated=True, depth=1).state_dict(), path)
    loaded = loaded_expert(Decision.EXPERT_F, choose_weights("expert_f", model=str(path)))
    assert (loaded.name, loaded.sha256) == ("expert_f", sha256_of(path))
    assert "SRNet" in repr(loaded)


def test_weights_that_differ_from_where_the_job_was_started_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "latest.pth"
    torch.save(SRNet(gated=True, depth=1).state_dict(), path)
    chosen = choose_weights("expert_f", model=str(path))
    torch.save(SRNet(gated=False, depth=1).state_dict(), path)
    with pytest.raises(WeightsError, match=r"latest\.pth: has sha256 .* every machine of the cluster"):
        loaded_expert(Decision.EXPERT_F, chosen)
    own = ExpertWeights((("expert_t_faithful", "0" * 64),), fidelity=1)
    with pytest.raises(WeightsError, match="000000000000"):
        loaded_expert(Decision.EXPERT_T, own)
