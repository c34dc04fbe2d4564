"""The weights that ship with the project: they fit, they are the registered ones, and they do some good."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.data import astronaut

from actors.experts import Expert, ExpertName, load_expert
from actors.experts.expert import enlarge
from flows.training.degradation import CLEAN, HARD, MEDIUM, Condition
from flows.training.validation import degrade, psnr
from weights import read_registry

EXPERTS: tuple[ExpertName, ...] = ("expert_t", "expert_f")


@pytest.fixture(scope="module", params=EXPERTS)
def expert(request: pytest.FixtureRequest) -> Expert:
    torch.set_num_threads(1)
    """The faithful set: what is claimed here is measured in decibels."""
    return load_expert(request.param, fidelity=1)


@pytest.fixture(scope="module")
def original_hr() -> NDArray[np.uint8]:
    """(256, 224, 3): the astronaut's head, which no expert was trained on."""
    return np.ascontiguousarray(astronaut()[:256, 112:336])


def gain(expert: Expert, original_hr: NDArray[np.uint8], condition: Condition) -> float:
    """PSNR above bicubic, dB."""
    size = (original_hr.shape[1] // 4, original_hr.shape[0] // 4)
    reduced_lr = np.asarray(cv2.resize(original_hr, size, interpolation=cv2.INTER_AREA), np.uint8)
    degraded_lr = degrade(reduced_lr, condition, np.random.default_rng(0))
    return psnr(expert.restore([degraded_lr])[0], original_hr) - psnr(enlarge(degraded_lr), original_hr)


@pytest.mark.parametrize("condition", [MEDIUM, HARD], ids=lambda condition: condition.name)
def test_a_degraded_face_comes_out_closer_to_the_truth_than_bicubic(
    expert: Expert, original_hr: NDArray[np.uint8], condition: Condition
) -> None:
    assert gain(expert, original_hr, condition) > 0.2


def test_a_clean_face_comes_out_no_worse_than_bicubic(expert: Expert, original_hr: NDArray[np.uint8]) -> None:
    assert gain(expert, original_hr, CLEAN) > 0


def test_a_flat_crop_stays_flat_and_keeps_its_colour(expert: Expert) -> None:
    """Grids from windows or from the pixel shuffle, and colour shifts, show here first. The outermost 16 px of the crop
    are left out: layers see zeros beyond the edge, and the compositor blends the edge away. Two levels nobody sees."""
    for level in (16, 40, 128, 210):
        restored = expert.restore([np.full((96, 96, 3), level, np.uint8)])[0].astype(int)
        inner = restored[64:-64, 64:-64]
        assert np.ptp(inner, axis=(0, 1)).max() <= 2
        assert np.abs(inner - level).max() <= 3


def test_the_registry_names_the_architecture_that_the_weights_have(expert: Expert) -> None:
    assert read_registry()[f"{expert.name}_faithful"].architecture in repr(expert)
