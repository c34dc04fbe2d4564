from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flows.training.losses import Batch, Loss, faithful_loss_f, faithful_loss_t, haar_distance

BOTH = pytest.mark.parametrize("loss", [faithful_loss_t, faithful_loss_f])


def batch_of(original: Tensor) -> Batch:
    return Batch(original[..., ::4, ::4], original, torch.full((len(original), 5, 2), torch.nan))


@BOTH
def test_the_truth_costs_least_and_more_error_costs_more(loss: Loss) -> None:
    original, error = torch.rand(1, 3, 16, 16), torch.randn(1, 3, 16, 16)
    costs = [float(loss(original + strength * error, batch_of(original))) for strength in (0.0, 0.05, 0.2)]
    assert costs == sorted(costs)
    assert costs[0] < 0.002


@BOTH
def test_the_gradient_at_the_truth_is_finite(loss: Loss) -> None:
    original = torch.rand(1, 3, 8, 8)
    restored = original.clone().requires_grad_()
    loss(restored, batch_of(original)).backward()
    assert restored.grad is not None
    assert torch.isfinite(restored.grad).all()


def test_haar_distance_hears_detail_and_not_tone() -> None:
    flat = torch.zeros(1, 3, 16, 16)
    checker = flat.clone()
    checker[..., ::2, ::2] = checker[..., 1::2, 1::2] = 0.2
    assert haar_distance(flat + 0.1, flat) < 1e-6
    assert haar_distance(checker, flat) > 0.05
