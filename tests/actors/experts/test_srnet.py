"""SRNet's checkpoints load whole, in both variants, and compute what its layers are known to compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from actors.experts import Expert, WeightsError, load_expert
from actors.experts.checkpoint import network_from_file
from actors.experts.srnet import HEADS, LaplacianGate, SRNet, TransformerLayer

MakeCrop = Callable[..., NDArray[np.uint8]]

SHAPES = {
    "head.0": (64, 3, 3, 3),
    **{
        f"rrdb.{block}.{name}": (outward, inward, 3, 3)
        for block in range(2)
        for name, outward, inward in (("c1", 32, 64), ("c2", 32, 96), ("c3", 64, 128))
    },
    "body.conv_in": (64, 64, 3, 3),
    **{
        f"body.encoder.layers.{layer}.{name}": shape
        for layer in range(4)
        for name, shape in (
            ("self_attn.out_proj", (64, 64)),
            ("linear1", (256, 64)),
            ("linear2", (64, 256)),
            ("norm1", (64,)),
            ("norm2", (64,)),
        )
    },
    "body.conv_pre": (1024, 64, 3, 3),
    "body.conv_out": (3, 64, 3, 3),
}
"""Of the weight of each part of a published checkpoint."""


def checkpoint(*, gated: bool) -> dict[str, Tensor]:
    """A state dict with the keys and shapes of the original's, filled at random."""
    generator = torch.Generator().manual_seed(5)
    state = {}
    for part, shape in SHAPES.items():
        fan_in = max(1, int(np.prod(shape[1:])))
        state[f"{part}.weight"] = torch.randn(shape, generator=generator) / fan_in**0.5
        state[f"{part}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    for layer in range(4):
        attention = f"body.encoder.layers.{layer}.self_attn"
        state[f"{attention}.in_proj_weight"] = torch.randn(192, 64, generator=generator) / 8
        state[f"{attention}.in_proj_bias"] = torch.zeros(192)
    detail = "detail_head.gate.0" if gated else "detail"
    state[f"{detail}.weight"] = torch.randn(3, 3, 1, 1, generator=generator)
    state[f"{detail}.bias"] = torch.zeros(3)
    if gated:
        state["detail_head.hp"] = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]).repeat(3, 1, 1, 1)
    return state


@pytest.fixture(params=[True, False], ids=["detail_head", "detail"])
def gated(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def saved(path: Path, state: object) -> Path:
    torch.save(state, path)
    return path


def wrap(state: dict[str, Tensor], how: str) -> object:
    parallel = {f"module.{key}": value for key, value in state.items()}
    return {"plain": state, "G": {"G": state, "step": 3}, "parallel": {"model": parallel}}[how]


@pytest.mark.parametrize("how", ["plain", "G", "parallel"])
def test_a_checkpoint_of_either_variant_loads_to_the_last_key(tmp_path: Path, gated: bool, how: str) -> None:
    state = checkpoint(gated=gated)
    network = network_from_file(saved(tmp_path / "latest.pth", wrap(state, how)), scale=4)
    assert isinstance(network, SRNet)
    loaded = network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_a_variant_without_its_own_head_is_refused(tmp_path: Path) -> None:
    state = checkpoint(gated=True)
    mixed = {key: value for key, value in state.items() if "gate" not in key} | {"detail.bias": torch.zeros(3)}
    with pytest.raises(WeightsError, match=r"SRNet: 2 keys \(detail_head\.gate\.0\.bias"):
        network_from_file(saved(tmp_path / "mixed.pth", mixed), scale=4)


def test_a_layer_computes_what_the_original_layer_does() -> None:
    torch.manual_seed(1)
    original = nn.TransformerEncoderLayer(64, HEADS, 256, batch_first=True, norm_first=True).eval()
    nn.init.normal_(original.self_attn.in_proj_bias)
    layer = TransformerLayer(64, 256).eval()
    layer.load_state_dict(original.state_dict())
    tokens = torch.randn(2, 35, 64)
    with torch.inference_mode():
        torch.testing.assert_close(layer(tokens), original(tokens), atol=1e-5, rtol=1e-5)


def test_the_gate_sharpens_edges_and_leaves_flat_pictures_alone() -> None:
    gate = LaplacianGate().eval()
    nn.init.zeros_(gate.gate[0].weight)
    nn.init.constant_(gate.gate[0].bias, 100)
    flat = torch.full((1, 3, 8, 8), 0.5)
    with torch.inference_mode():
        torch.testing.assert_close(gate(flat)[..., 1:-1, 1:-1], flat[..., 1:-1, 1:-1])
        spot = torch.zeros(1, 3, 9, 9)
        spot[..., 4, 4] = 1
        assert gate(spot)[0, 0, 4, 4] == pytest.approx(1 + 0.3 * 4)
        assert gate(spot)[0, 2, 4, 5] == pytest.approx(-0.3)


def test_it_restores_crops_of_any_size_without_padding_them(tmp_path: Path, gated: bool, crop: MakeCrop) -> None:
    """Every pixel attends to every other, so a padded pixel would be seen everywhere."""
    expert = load_expert("expert_t", weights_path=saved(tmp_path / "latest.pth", checkpoint(gated=gated)))
    crop_rgb = crop(21, 18)
    network = network_from_file(tmp_path / "latest.pth", scale=4)
    with torch.inference_mode():
        image = torch.from_numpy(crop_rgb).permute(2, 0, 1)[None].float() / 255
        exact = (network(image).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
    (restored,) = expert.restore([crop_rgb])
    assert restored.shape == (84, 72, 3)
    assert np.abs(restored.astype(int) - exact).max() <= 1
    assert isinstance(expert, Expert)
