"""A loaded expert: uint8 crops in, uint8 crops four times the size out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from actors.experts.checkpoint import network_between, network_from_file
from weights import DEFAULT_FIDELITY, find_weights, mixed_sha256, sha256_of, verify_weights, weight_sets

EXPERT_SCALE = 4
"""Enlargement per side."""

SMALLEST_SIDE = 16
"""Least height and width of a crop in px."""

BUCKET_MULTIPLE = 8
"""Crops are computed at sides that are multiples of this many px: T's windows need it; few sizes batch."""

_GPU_BATCH_PIXELS = 512 * 1024
"""Low-resolution pixels that go to a GPU at once, to start with."""

ExpertName = Literal["expert_t", "expert_f"]


class Expert:
    """A restoration network with its weights, in eval mode on one device.

    Attributes:
        name: "expert_t" or "expert_f".
        sha256: 64 hex digits that identify the weights: of the file, or of both sets and the fidelity.
    """

    def __init__(self, name: ExpertName, network: nn.Module, sha256: str, *, device: str = "cpu") -> None:
        self.name: str = name
        self.sha256 = sha256
        self._device = torch.device(device)
        self._network = network.to(self._device).to(memory_format=torch.channels_last).eval()

    def __repr__(self) -> str:
        return f"Expert({self.name}, {type(self._network).__name__}, {self._device}, sha256 {self.sha256[:12]})"

    def restore(self, crops_rgb: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """Make every crop :data:`EXPERT_SCALE` times larger and clearer.

        A crop is mirrored at its right and bottom edge up to a multiple of 8 px, crops of equal padded size
        are computed together, and the padding is cut off. The padding depends on the crop alone. On a CPU
        each crop is a batch of its own, which is no slower there, so its result is the same bytes whatever
        else is in ``crops_rgb``; on a GPU (bfloat16 where it is CUDA) the batch's shape may move a value by
        rounding.

        Args:
            crops_rgb: (H, W, 3) uint8 RGB each, H and W at least :data:`SMALLEST_SIDE`, sizes may differ; may
                be empty.

        Returns:
            (4H, 4W, 3) uint8 RGB each, in the same order.

        Raises:
            ValueError: a crop has another shape or dtype; the message gives its number.
            torch.OutOfMemoryError: even one crop alone does not fit.
        """
        for number, crop_rgb in enumerate(crops_rgb):
            _check_crop(crop_rgb, number)
        buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, crop_rgb in enumerate(crops_rgb):
            buckets[bucket_size(crop_rgb.shape[0], crop_rgb.shape[1])].append(number)
        restored: dict[int, NDArray[np.uint8]] = {}
        for size, numbers in buckets.items():
            padded_rgb = np.stack([pad_to_bucket(crops_rgb[number]) for number in numbers])
            for number, result_rgb in zip(numbers, self._restore_bucket(padded_rgb, size), strict=True):
                height, width = crops_rgb[number].shape[:2]
                restored[number] = result_rgb[: EXPERT_SCALE * height, : EXPERT_SCALE * width].copy()
        return [restored[number] for number in range(len(crops_rgb))]

    def _batch_limit(self, size: tuple[int, int]) -> int:
        """How many crops of a (height, width) to compute at once."""
        return 1 if self._device.type == "cpu" else max(1, _GPU_BATCH_PIXELS // (size[0] * size[1]))

    def _restore_bucket(self, padded_rgb: NDArray[np.uint8], size: tuple[int, int]) -> list[NDArray[np.uint8]]:
        """Crops of one size, in batches; one that does not fit into memory is halved, down to one crop."""
        limit = self._batch_limit(size)
        restored: list[NDArray[np.uint8]] = []
        while len(restored) < len(padded_rgb):
            try:
                batch_rgb = padded_rgb[len(restored) :][:limit]
                restored += list(run_network(self._network, batch_rgb, device=self._device))
            except torch.OutOfMemoryError:
                if limit == 1:
                    raise
                limit = min(limit, len(padded_rgb) - len(restored)) // 2 or 1
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()
        return restored


def load_expert(
    name: ExpertName, *, device: str = "cpu", fidelity: float = DEFAULT_FIDELITY, weights_path: Path | None = None
) -> Expert:
    """Load an expert.

    Args:
        name: which route it serves.
        device: a torch device, "cpu", "cuda", "cuda:1" ...
        fidelity: 0 to 1: which of its two sets of weights it is, or how much of each (:mod:`weights.fidelity`).
        weights_path: a .safetensors file to use instead of the registered sets; it is then taken as it is, whatever
            its hash and the fidelity, but must fit an architecture that facemill knows.

    Raises:
        WeightsError: the weights are not registered, absent, changed, or do not fit.
        ValueError: the fidelity is outside of 0 to 1.
    """
    if weights_path is not None:
        network = network_from_file(weights_path, scale=EXPERT_SCALE)
        return Expert(name, network, sha256_of(weights_path), device=device)
    entries = {set_name: find_weights(set_name) for set_name in weight_sets(name, fidelity)}
    paths = [verify_weights(entry) for entry in entries.values()]
    if len(paths) == 1:
        network = network_from_file(paths[0], scale=EXPERT_SCALE)
    else:
        faithful, natural = paths
        network = network_between(faithful, natural, fidelity, scale=EXPERT_SCALE)
    sha256 = mixed_sha256({set_name: entry.sha256 for set_name, entry in entries.items()}, fidelity)
    return Expert(name, network, sha256, device=device)


def bucket_size(height: int, width: int) -> tuple[int, int]:
    """The (height, width) that a crop is computed at: each side rounded up to :data:`BUCKET_MULTIPLE`."""
    return -(-height // BUCKET_MULTIPLE) * BUCKET_MULTIPLE, -(-width // BUCKET_MULTIPLE) * BUCKET_MULTIPLE


def pad_to_bucket(crop_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mirror a crop's right and bottom edge up to its bucket's size; (H, W, 3) uint8, H and W at least 8."""
    height, width = crop_rgb.shape[:2]
    bucket_height, bucket_width = bucket_size(height, width)
    return np.pad(crop_rgb, ((0, bucket_height - height), (0, bucket_width - width), (0, 0)), mode="reflect")


def run_network(network: nn.Module, crops_rgb: NDArray[np.uint8], *, device: torch.device) -> NDArray[np.uint8]:
    """One forward pass, (N, H, W, 3) -> (N, 4H, 4W, 3), uint8 RGB; bfloat16 on CUDA only."""
    image = torch.from_numpy(np.ascontiguousarray(crops_rgb)).to(device).permute(0, 3, 1, 2).float().div(255)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        levels = network(image).float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())


def _check_crop(crop_rgb: NDArray[np.uint8], number: int) -> None:
    shape, dtype = crop_rgb.shape, crop_rgb.dtype
    if len(shape) != 3 or shape[2] != 3 or dtype != np.uint8 or min(shape[:2]) < SMALLEST_SIDE:
        raise ValueError(
            f"crop {number} is {shape} {dtype}; expected (H, W, 3) uint8, H and W at least {SMALLEST_SIDE} px"
        )
