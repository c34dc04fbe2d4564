"""Small untrained experts with lively weights: fast, and far enough from bicubic that a mix-up shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from actors.experts.frequency import FrequencyExpert
from actors.experts.transformer import TransformerExpert


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks this small are slower on several threads, and much slower beside other work."""
    torch.set_num_threads(1)


def small_network(kind: str) -> nn.Module:
    torch.manual_seed(7)
    network: nn.Module
    if kind == "t":
        network = TransformerExpert(channels=16, groups=2, heads=2, hidden=16)
    else:
        network = FrequencyExpert(channels=16, blocks=2, hidden=16, large=8, kernel=5, spectral=4)
    for name, parameter in network.named_parameters():
        if name.startswith(("head", "coarse_bands", "fine_bands")):
            nn.init.normal_(parameter, std=0.05)
    return network.eval()


@pytest.fixture(params=["t", "f"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    return small_network(request.param)


@pytest.fixture(params=["t", "f"])
def weights_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"expert_{request.param}.safetensors"
    save_file(small_network(request.param).state_dict(), path)
    return path


@pytest.fixture
def crop() -> Callable[..., NDArray[np.uint8]]:
    """Makes a (height, width, 3) uint8 crop of smooth colour with some noise, from a seed."""

    def make(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:height, :width]
        waves = [np.sin(x / rng.uniform(2, 9)) + np.cos(y / rng.uniform(2, 9)) for _ in range(3)]
        noisy = 127 + 50 * np.stack(waves, axis=-1) + rng.normal(0, 5, (height, width, 3))
        return np.clip(noisy, 0, 255).astype(np.uint8)

    return make
