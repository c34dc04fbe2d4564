from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from actors.experts.layers import bicubic_upscale
from flows.perception.lpips import Layer, Lpips
from flows.perception.sface import TEMPLATE_XY, SFace
from flows.training.losses import (
    Batch,
    Loss,
    MeanLoss,
    Perception,
    TunedLoss,
    TunedWeights,
    haar_distance,
    identity_distances,
    pixel_loss_f,
    pixel_loss_t,
    reduced,
    trust,
)

BOTH = pytest.mark.parametrize("loss", [MeanLoss(pixel_loss_t), MeanLoss(pixel_loss_f)])


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


def test_the_squared_term_counts_decibels_of_psnr() -> None:
    original = torch.rand(1, 3, 64, 64)
    loss = TunedLoss(
        pixel_loss_t, small_perception(), TunedWeights(pixels=0.0, squared=1.0, alex=0.0, vgg=0.0, identity=0.0)
    )
    error = torch.randn_like(original)
    far, near = (float(loss(original + strength * error, batch_of(original))) for strength in (0.2, 0.1))
    assert 20 / math.log(10) * (far - near) == pytest.approx(20 * math.log10(2), abs=0.01)


@pytest.mark.parametrize("side", [64, 48, 32])
def test_a_result_shrinks_to_its_original_by_area(side: int) -> None:
    picture = np.random.default_rng(0).random((64, 64, 3), np.float32)
    shrunk = reduced(torch.from_numpy(picture).permute(2, 0, 1)[None], side)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(shrunk, cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), atol=1e-5)


def test_it_is_learned_through_what_was_first_reduced_in_a_validation() -> None:
    with torch.inference_mode():
        reduced(torch.rand(1, 3, 40, 40), 24)
    picture = torch.rand(1, 3, 40, 40, requires_grad=True)
    reduced(picture, 24).sum().backward()
    assert picture.grad is not None
    torch.testing.assert_close(picture.grad, torch.full_like(picture, 0.36))


def test_a_patch_is_trusted_alike_whatever_the_size_of_its_original() -> None:
    """A smooth clean patch is known as clean at three times its size, too."""
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    original = torch.linspace(0, 1, 96).expand(1, 3, 96, 96)
    batch = Batch(ramp, original, torch.full((1, 5, 2), torch.nan))
    assert float(trust(batch, pixel_loss_t)) == 1


def test_vgg_sees_a_window_or_every_patch() -> None:
    """What is wrong outside of the window of one patch costs something only where all of all patches are seen."""
    torch.manual_seed(0)
    original = torch.rand(4, 3, 64, 64)
    off = original.clone()
    off[..., :4] = 1 - off[..., :4]
    weights = TunedWeights(pixels=0.0, alex=0.0, vgg=1.0, identity=0.0)

    def costs(window: int | None) -> list[float]:
        loss = TunedLoss(pixel_loss_t, small_perception(), weights, window=window)
        return [float(loss(off, batch_of(original))) for _ in range(8)]

    assert min(costs(16)) == 0
    assert len(set(costs(None))) == 1
    assert costs(None)[0] > 0


def small_perception() -> Perception:
    torch.manual_seed(0)
    layers = (Layer(4, 3, 2, 1, 0, True), Layer(4, 3, 1, 1, 2, True))
    recogniser = SFace(nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(3 * 7 * 7, 8)))
    return Perception(Lpips(layers), Lpips(layers), recogniser)


TERMS = ("pixels", "alex", "vgg", "identity")


@pytest.mark.parametrize("term", TERMS)
def test_a_tuned_loss_is_least_at_the_truth_and_hears_each_term(term: str) -> None:
    original = nn.functional.interpolate(torch.rand(2, 3, 8, 8), scale_factor=16.0)
    batch = batch_of(original)._replace(landmarks_xy=torch.from_numpy(TEMPLATE_XY).repeat(2, 1, 1))
    restored = (original.flip(3) + 0.1 * torch.randn(2, 3, 128, 128)).requires_grad_()
    weights = TunedWeights(**dict.fromkeys(TERMS, 0.0) | {term: 1.0}, near=0.0)
    loss = TunedLoss(pixel_loss_t, small_perception(), weights)
    cost = loss(restored, batch)
    assert float(cost.detach()) > float(loss(batch.original, batch)) + 1e-3
    (gradient,) = torch.autograd.grad(cost, restored)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0


def test_a_decibel_counts_the_same_on_a_clean_patch_and_on_a_hard_one() -> None:
    loss = TunedLoss(pixel_loss_t, small_perception(), TunedWeights(pixels=1.0, alex=0.0, vgg=0.0, identity=0.0))
    original = torch.full((1, 3, 32, 32), 0.5)
    error = torch.rand(1, 3, 32, 32)
    gained = [
        float(
            loss(original + strength * error, batch_of(original))
            - loss(original + strength / 2 * error, batch_of(original))
        )
        for strength in (0.04, 0.4)
    ]
    assert gained[0] == pytest.approx(gained[1], rel=0.02)


def test_pixels_count_less_where_the_degraded_patch_has_lost_them() -> None:
    weights = TunedWeights(pixels=1.0, alex=0.0, vgg=0.0, identity=0.0, trust=2.0)
    loss = TunedLoss(pixel_loss_t, small_perception(), weights)
    smooth = nn.functional.interpolate(torch.rand(1, 3, 4, 4), scale_factor=16.0, mode="bilinear")
    kept = batch_of(smooth)
    lost = kept._replace(degraded=kept.degraded + 0.3 * torch.randn(1, 3, 16, 16))
    assert float(trust(kept, pixel_loss_t)) > 4 * float(trust(lost, pixel_loss_t)) > 0
    restored = [smooth + error * torch.ones_like(smooth) for error in (0.1, 0.05)]
    gained = [float(loss(restored[0], batch) - loss(restored[1], batch)) for batch in (kept, lost)]
    assert gained[0] > 16 * gained[1] > 0


def test_a_patch_is_left_alone_where_it_is_near_enough_or_so_much_nearer_than_bicubic() -> None:
    torch.manual_seed(0)
    original = nn.functional.interpolate(torch.rand(2, 3, 8, 8), scale_factor=16.0)
    batch = batch_of(original)._replace(degraded=torch.rand(2, 3, 32, 32))
    perception, off = small_perception(), original + 0.05 * torch.randn(2, 3, 128, 128)
    enlarged = bicubic_upscale(batch.degraded, 4).clamp(0, 1)
    share = float((perception.alex(off, original) / perception.alex(enlarged, original)).mean())

    def cost(**bounds: float) -> float:
        weights = TunedWeights(pixels=0.0, alex=1.0, vgg=0.0, identity=0.0, **bounds)
        return float(TunedLoss(pixel_loss_t, perception, weights)(off, batch))

    assert 0 < share < 1
    assert cost(near=0.0, nearer=share / 2) > 0 == cost(near=0.0, nearer=min(1.0, 1.5 * share))
    assert cost(near=0.0) > 0 == cost(near=1.0)


def test_pictures_travel_as_bytes_and_arrive_in_0_to_1() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    arrived = Batch(levels, levels, torch.zeros(1, 5, 2)).to(torch.device("cpu"))
    torch.testing.assert_close(arrived.original.flatten(), torch.linspace(0, 1, 256))
    assert arrived.to(torch.device("cpu")).original is arrived.original


def test_the_identity_distance_is_that_of_unit_vectors_and_has_a_gradient_at_the_truth() -> None:
    sface = small_perception().sface
    batch = batch_of(torch.rand(1, 3, 128, 128))._replace(landmarks_xy=torch.from_numpy(TEMPLATE_XY)[None].clone())
    other = batch.original.flip(2).requires_grad_()
    (distance,) = identity_distances(other, batch, sface)
    assert 0.05 < float(distance.detach()) < 2
    same = batch.original.clone().requires_grad_()
    (nothing,) = identity_distances(same, batch, sface)
    nothing.backward()
    assert float(nothing.detach()) == pytest.approx(0.01, abs=1e-6)
    assert same.grad is not None
    assert torch.isfinite(same.grad).all()


def test_only_patches_that_hold_a_face_are_asked_who_it_is() -> None:
    sface = small_perception().sface
    batch = batch_of(torch.rand(2, 3, 128, 128))
    restored = torch.rand(2, 3, 128, 128)
    assert len(identity_distances(restored, batch, sface)) == 0
    batch.landmarks_xy[1] = torch.from_numpy(TEMPLATE_XY)
    (found,) = identity_distances(restored.requires_grad_(), batch, sface)
    found.backward()
    assert restored.grad is not None
    assert restored.grad[0].abs().max() == 0
    assert restored.grad[1].abs().max() > 0
