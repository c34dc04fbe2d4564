from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from actors.experts import EXPERT_SCALE, Expert, ExpertName, WeightsError, load_expert
from actors.experts.expert import bucket_size, has_bfloat16, pad_to_bucket
from weights import mixed_sha256, read_registry, sha256_of

MakeCrop = Callable[..., NDArray[np.uint8]]
SIZES = [(16, 16), (33, 21), (24, 40), (33, 21), (40, 40), (17, 31)]


class NearestX4(nn.Module):
    """A stand-in that copies each pixel into a 4x4 cell, and can run out of memory as a GPU does."""

    scale, size_multiple = 4, 1

    def __init__(self, capacity: int, error: RuntimeError | None = None) -> None:
        super().__init__()
        self.capacity = capacity
        self.error = error or torch.OutOfMemoryError("no memory")
        self.batches: list[int] = []

    def forward(self, image: Tensor) -> Tensor:
        if len(image) > self.capacity:
            raise self.error
        self.batches.append(len(image))
        return image.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)


def test_every_crop_comes_back_four_times_its_size_and_in_order(crop: MakeCrop) -> None:
    crops_rgb = [crop(*size, seed) for seed, size in enumerate(SIZES)]
    restored = Expert("expert_t", NearestX4(capacity=99), "").restore(crops_rgb)
    for crop_rgb, result_rgb in zip(crops_rgb, restored, strict=True):
        assert result_rgb.dtype == np.uint8
        np.testing.assert_array_equal(result_rgb[::EXPERT_SCALE, ::EXPERT_SCALE], crop_rgb)


def test_no_crops_give_no_results(network: nn.Module) -> None:
    assert Expert("expert_t", network, "").restore([]) == []


def test_a_crop_gives_the_same_bytes_alone_and_in_any_company(network: nn.Module, crop: MakeCrop) -> None:
    expert = Expert("expert_t", network, "")
    crops_rgb = [crop(*size, seed) for seed, size in enumerate(SIZES)]
    alone = [expert.restore([crop_rgb])[0] for crop_rgb in crops_rgb]
    backwards = expert.restore(crops_rgb[::-1])[::-1]
    for single, accompanied in zip(alone, backwards, strict=True):
        np.testing.assert_array_equal(single, accompanied)


def test_padding_moves_pixels_far_from_it_by_two_grey_levels_at_most(network: nn.Module, crop: MakeCrop) -> None:
    """Sizes 56 and 49 share a bucket; content that both show must come out alike away from the cut."""
    whole_rgb = crop(56, 56)
    expert = Expert("expert_t", network, "")
    whole, cut = expert.restore([whole_rgb, whole_rgb[:49, :49].copy()])
    inner = slice(0, 4 * 24)
    difference = np.abs(whole[inner, inner].astype(int) - cut[inner, inner])
    assert np.percentile(difference, 99) <= 2


def test_a_crop_of_a_whole_multiple_is_the_networks_own_result_to_its_edges(network: nn.Module, crop: MakeCrop) -> None:
    """No padding is added to it, and none of its neighbours' shows: also not in the last row."""
    crops_rgb = [crop(48, 40), crop(41, 33, 1), crop(45, 40, 2)]
    restored = Expert("expert_t", network, "").restore(crops_rgb)[0]
    with torch.inference_mode():
        image = torch.from_numpy(crops_rgb[0]).permute(2, 0, 1)[None].float() / 255
        exact = (network(image).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
    assert np.abs(restored.astype(int) - exact).max() <= 1


def test_restoring_twice_gives_the_same_bytes(network: nn.Module, crop: MakeCrop) -> None:
    expert = Expert("expert_f", network, "")
    first, second = (expert.restore([crop(35, 27)])[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_given_crops_are_left_as_they_were(network: nn.Module, crop: MakeCrop) -> None:
    crop_rgb = crop(20, 20)
    before = crop_rgb.copy()
    Expert("expert_t", network, "").restore([crop_rgb])
    np.testing.assert_array_equal(crop_rgb, before)


def test_out_of_memory_halves_the_batch_and_loses_no_crop(crop: MakeCrop, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = NearestX4(capacity=2)
    expert = Expert("expert_t", stand_in, "")
    monkeypatch.setattr(expert, "_batch_limit", lambda size: 8)
    crops_rgb = [crop(24, 24, seed) for seed in range(7)]
    restored = expert.restore(crops_rgb)
    assert sum(stand_in.batches) == 7
    assert max(stand_in.batches) <= 2
    for crop_rgb, result_rgb in zip(crops_rgb, restored, strict=True):
        np.testing.assert_array_equal(result_rgb[::4, ::4], crop_rgb)


def test_the_size_that_fitted_is_remembered(crop: MakeCrop) -> None:
    stand_in = NearestX4(capacity=2)
    expert = Expert("expert_t", stand_in, "")
    expert._device = torch.device("meta")  # no CPU: batches; nothing is computed there
    assert expert._batch_limit((24, 24)) > 8
    expert._device = torch.device("cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expert, "_batch_limit", lambda size: 8)
        expert.restore([crop(24, 24, seed) for seed in range(8)])
    expert._device = torch.device("meta")
    assert expert._batch_limit((24, 24)) == 2
    assert expert._batch_limit((24, 48)) == 1


@pytest.mark.parametrize(
    ("device", "capability", "expected"),
    [("cpu", (9, 0), False), ("cuda", (7, 5), False), ("cuda", (8, 0), True), ("cuda:1", (9, 0), True)],
)
def test_bfloat16_is_used_where_the_hardware_has_it(
    monkeypatch: pytest.MonkeyPatch, device: str, capability: tuple[int, int], expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_bfloat16(torch.device(device)) is expected


def test_out_of_memory_without_a_type_of_its_own_halves_the_batch_too(
    crop: MakeCrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = NearestX4(capacity=3, error=RuntimeError("CUDA error: out of memory"))
    expert = Expert("expert_t", stand_in, "")
    monkeypatch.setattr(expert, "_batch_limit", lambda size: 8)
    crops_rgb = [crop(24, 24, seed) for seed in range(7)]
    restored = expert.restore(crops_rgb)
    assert max(stand_in.batches) <= 3
    for crop_rgb, result_rgb in zip(crops_rgb, restored, strict=True):
        np.testing.assert_array_equal(result_rgb[::4, ::4], crop_rgb)


def test_another_error_is_no_reason_to_try_again(crop: MakeCrop, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = NearestX4(capacity=3, error=RuntimeError("size mismatch"))
    expert = Expert("expert_t", stand_in, "")
    monkeypatch.setattr(expert, "_batch_limit", lambda size: 8)
    with pytest.raises(RuntimeError, match="size mismatch"):
        expert.restore([crop(24, 24)] * 7)
    assert stand_in.batches == []


def test_one_crop_that_does_not_fit_is_an_error_and_not_an_endless_loop(crop: MakeCrop) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Expert("expert_t", NearestX4(capacity=0), "").restore([crop(16, 16)])


@pytest.mark.parametrize(
    "bad_rgb",
    [
        np.zeros((0, 20, 3), np.uint8),
        np.zeros((20, 20, 4), np.uint8),
        np.zeros((20, 20), np.uint8),
        np.zeros((20, 20, 3), np.float32),
    ],
)
def test_an_unfit_crop_is_refused_by_its_number(bad_rgb: NDArray[np.uint8], crop: MakeCrop) -> None:
    expert = Expert("expert_t", NearestX4(capacity=9), "")
    with pytest.raises(ValueError, match="crop 1 is"):
        expert.restore([crop(20, 20), bad_rgb])


def test_a_side_of_the_bucket_size_is_not_padded(crop: MakeCrop) -> None:
    assert bucket_size(16, 17) == (16, 24)
    np.testing.assert_array_equal(pad_to_bucket(crop(16, 24)), crop(16, 24))


@pytest.mark.parametrize("name", ["expert_t", "expert_f"])
def test_what_the_frame_leaves_of_a_face_is_restored_however_little_it_is(crop: MakeCrop, name: ExpertName) -> None:
    expert = load_expert(name)
    for height, width in ((1, 1), (2, 60), (15, 7), (16, 3)):
        crop_rgb = crop(height, width)
        (restored,) = expert.restore([crop_rgb])
        assert restored.shape == (4 * height, 4 * width, 3)
        reduced = cv2.resize(restored, (width, height), interpolation=cv2.INTER_AREA)
        assert abs(float(reduced.mean()) - float(crop_rgb.mean())) < 8


def test_padding_mirrors_the_edge(crop: MakeCrop) -> None:
    crop_rgb = crop(20, 16)
    padded = pad_to_bucket(crop_rgb)
    assert padded.shape == (24, 16, 3)
    np.testing.assert_array_equal(padded[20], crop_rgb[18])


def test_weights_by_path_are_loaded_with_their_hash(weights_file: Path, crop: MakeCrop) -> None:
    expert = load_expert("expert_f", weights_path=weights_file)
    assert expert.name == "expert_f"
    assert expert.sha256 == sha256_of(weights_file)
    assert expert.restore([crop(16, 24)])[0].shape == (64, 96, 3)


@pytest.mark.parametrize(("fidelity", "name"), [(1, "expert_t_faithful"), (0, "expert_t_natural")])
def test_an_end_of_fidelity_is_identified_by_its_file(fidelity: float, name: str) -> None:
    assert load_expert("expert_t", fidelity=fidelity).sha256 == read_registry()[name].sha256


def test_a_mixture_is_identified_by_both_sets_and_the_fidelity() -> None:
    sets = {name: read_registry()[name].sha256 for name in ("expert_f_faithful", "expert_f_natural")}
    assert load_expert("expert_f", fidelity=0.25).sha256 == mixed_sha256(sets, 0.25)


def test_absent_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nothing\.safetensors"):
        load_expert("expert_t", weights_path=tmp_path / "nothing.safetensors")
