from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flows.training.critic import Adversary, PatchCritic
from flows.training.losses import Batch


def batch_of(original: Tensor) -> Batch:
    return Batch(original[..., ::4, ::4], original, torch.full((len(original), 5, 2), torch.nan))


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    return batch_of(torch.rand(2, 3, 32, 32))


def test_the_push_is_zero_until_the_critic_has_learned_and_then_its_share(batch: Batch) -> None:
    adversary = Adversary(PatchCritic(8), share=0.25, rate=1e-3, warm_up=5)
    gradient = torch.randn(batch.original.shape)
    restored = torch.rand(batch.original.shape)
    assert adversary.push(4, restored, batch, gradient).abs().max() == 0
    assert adversary.push(5, restored, batch, gradient).norm() == pytest.approx(0.25 * float(gradient.norm()), rel=1e-4)


def test_the_critic_learns_to_tell_blurred_from_sharp_and_pushes_towards_sharp(batch: Batch) -> None:
    adversary = Adversary(PatchCritic(8), share=1.0, rate=5e-3, warm_up=80)
    blurred = torch.nn.functional.avg_pool2d(batch.original, 5, 1, 2)
    for step in range(80):
        adversary.push(step, blurred, batch, torch.ones_like(blurred))
    enlarged = torch.nn.functional.interpolate(batch.degraded, scale_factor=4, mode="bicubic")
    with torch.no_grad():
        real, fake = (adversary.critic(picture, enlarged).mean() for picture in (batch.original, blurred))
    assert real > fake + 0.2
    push = adversary.push(80, blurred, batch, torch.ones_like(blurred))
    stepped = blurred - 0.05 * push / push.abs().max()
    with torch.no_grad():
        assert adversary.critic(stepped, enlarged).mean() > adversary.critic(blurred, enlarged).mean()
