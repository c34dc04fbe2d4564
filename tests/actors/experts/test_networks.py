from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from actors.experts.frequency import FrequencyExpert, SpectralMix
from actors.experts.layers import bicubic_upscale, haar_forward, haar_inverse
from actors.experts.transformer import (
    ChannelAttention,
    TransformerExpert,
    WindowAttention,
    join_windows,
    shift_mask,
    split_windows,
)


@pytest.mark.parametrize("network", [TransformerExpert(groups=2), FrequencyExpert(blocks=2)])
def test_an_untrained_expert_is_bicubic(network: nn.Module) -> None:
    image = torch.rand(1, 3, 24, 32)
    with torch.inference_mode():
        assert (network(image) - bicubic_upscale(image, 4)).abs().max() < 1 / 255


def test_the_bicubic_skip_is_opencvs() -> None:
    image = np.random.default_rng(0).random((12, 9, 3), np.float32)
    expected = cv2.resize(image, (36, 48), interpolation=cv2.INTER_CUBIC)
    enlarged = bicubic_upscale(torch.from_numpy(image).permute(2, 0, 1)[None], 4)
    np.testing.assert_allclose(enlarged[0].permute(1, 2, 0).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("network", "limit"), [(TransformerExpert(), 0.6), (FrequencyExpert(), 0.7)])
def test_an_expert_stays_small(network: nn.Module, limit: float) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) < limit * 1e6


def test_every_parameter_gets_a_gradient(network: nn.Module) -> None:
    network(torch.rand(2, 3, 16, 16)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_haar_levels_invert_and_keep_the_energy() -> None:
    image = torch.rand(2, 3, 8, 12)
    low, detail = haar_forward(image)
    torch.testing.assert_close(haar_inverse(low, detail), image)
    torch.testing.assert_close(low.square().sum() + detail.square().sum(), image.square().sum())


def test_haar_puts_vertical_stripes_into_the_horizontal_band() -> None:
    stripes = torch.tensor([1.0, -1.0]).repeat(4, 2)[None, None]
    low, detail = haar_forward(stripes)
    horizontal, vertical, diagonal = detail.unbind(1)
    assert low.abs().max() == 0
    assert vertical.abs().max() == 0
    assert diagonal.abs().max() == 0
    assert (horizontal == 2).all()


def test_windows_are_cut_and_joined_without_loss() -> None:
    grid = torch.arange(2 * 16 * 24 * 3.0).view(2, 16, 24, 3)
    windows = split_windows(grid, 8)
    assert windows.shape == (2 * 2 * 3, 64, 3)
    torch.testing.assert_close(windows[1].view(8, 8, 3), grid[0, :8, 8:16])
    torch.testing.assert_close(join_windows(windows, 8, 16, 24), grid)


def test_window_attention_sees_its_window_and_nothing_else() -> None:
    attention = WindowAttention(8, heads=2, window=4, shift=0)
    grid = torch.rand(1, 8, 8, 8)
    changed = grid.clone()
    changed[0, 0, 0] += 1
    difference = (attention(grid) - attention(changed)).detach().abs().sum(-1)[0]
    assert difference[:4, :4].min() > 0
    assert difference[4:].max() == 0
    assert difference[:, 4:].max() == 0


def test_a_shifted_window_does_not_reach_across_the_crops_edge() -> None:
    attention = WindowAttention(8, heads=2, window=4, shift=2)
    grid = torch.rand(1, 8, 8, 8)
    changed = grid.clone()
    changed[0, 0, 0] += 1
    difference = (attention(grid) - attention(changed)).detach().abs().sum(-1)[0]
    assert difference[:2, :2].min() > 0
    assert difference[2:].max() == 0
    assert difference[:, 2:].max() == 0


def test_the_shift_mask_forbids_nothing_away_from_the_rolled_edges() -> None:
    forbidden = shift_mask(12, 12, 4, 2, device=torch.device("cpu"))
    inner, corner = forbidden[0], forbidden[-1]
    assert not inner.any()
    assert corner.any()
    assert not corner.diagonal().any()


def test_channel_attention_weighs_a_tiled_crop_as_it_weighs_one_tile() -> None:
    attention = ChannelAttention(8, heads=2)
    tile = torch.rand(1, 6, 6, 8)
    torch.testing.assert_close(attention(tile.repeat(1, 3, 2, 1))[:, :6, :6], attention(tile))


def test_the_spectral_branch_treats_a_tiled_crop_as_it_treats_one_tile() -> None:
    branch = SpectralMix(4)
    tile = torch.rand(1, 4, 8, 8)
    tiled = branch(tile.repeat(1, 1, 2, 3))
    torch.testing.assert_close(tiled[..., :8, :8], branch(tile), atol=1e-5, rtol=1e-4)


def test_the_spectral_branch_commutes_with_a_gain() -> None:
    branch = SpectralMix(4)
    features = torch.randn(1, 4, 8, 10)
    torch.testing.assert_close(branch(3 * features), 3 * branch(features), atol=1e-5, rtol=1e-4)
