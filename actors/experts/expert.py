"""A loaded expert: uint8 crops in, uint8 crops four times the size out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from actors.alignment import align_face, alignment, paste_face
from actors.experts.architectures import DEFAULT_HANDLING, Handling, architecture_of
from actors.experts.checkpoint import network_between, network_from_file, network_of, read_state, refuse_not_finite
from actors.experts.spandrel_models import SpandrelModel, model_of
from actors.geometry import Landmarks
from weights import DEFAULT_FIDELITY, find_weights, mixed_sha256, sha256_of, verify_weights, weight_sets

EXPERT_SCALE = 4
"""Enlargement per side."""

SMALLEST_SIDE = 16
"""Least side in px that a crop is computed at; what is smaller, such as a face that the frame cuts off, is mirrored."""

BUCKET_MULTIPLE = DEFAULT_HANDLING.side_multiple
"""Crops are computed at sides that are multiples of this many px: T's windows need it; few sizes batch."""

_GPU_BATCH_PIXELS = 512 * 1024
"""Low-resolution pixels that go to a GPU at once, to start with."""

_BFLOAT16_CAPABILITY = (8, 0)
"""CUDA's compute capability (Ampere) from which bfloat16 has units of its own; before, it is emulated and slower."""

ExpertName = Literal["expert_t", "expert_f"]


class Expert:
    """A restoration network with its weights, in eval mode on one device.

    Attributes:
        name: "expert_t" or "expert_f".
        sha256: 64 hex digits that identify the weights: of the file, or of both sets and the fidelity.
    """

    def __init__(
        self,
        name: ExpertName,
        network: nn.Module,
        sha256: str,
        *,
        device: str = "cpu",
        handling: Handling = DEFAULT_HANDLING,
    ) -> None:
        self.name: str = name
        self.sha256 = sha256
        self._device = torch.device(device)
        self._handling = handling
        self._batch_pixels = _GPU_BATCH_PIXELS
        self._bfloat16 = handling.bfloat16 and has_bfloat16(self._device)
        self._network = network.to(self._device).eval()
        if handling.channels_last:
            self._network = self._network.to(memory_format=torch.channels_last)

    def __repr__(self) -> str:
        kind = self._network if isinstance(self._network, SpandrelModel) else type(self._network).__name__
        return f"Expert({self.name}, {kind}, {self._device}, sha256 {self.sha256[:12]})"

    @property
    def uses_landmarks(self) -> bool:
        """Whether what it makes of a crop depends on the landmarks."""
        return False

    @property
    def network(self) -> nn.Module:
        """What computes, in eval mode."""
        return self._network

    def restore(
        self, crops_rgb: Sequence[NDArray[np.uint8]], landmarks: Sequence[Landmarks] | None = None
    ) -> list[NDArray[np.uint8]]:
        """Make every crop :data:`EXPERT_SCALE` times larger and clearer.

        A crop is mirrored at its right and bottom edge up to a multiple of 8 px (SRNet and models of spandrel: not at
        all) and to :data:`SMALLEST_SIDE`; crops of equal padded size are computed together, and the padding is cut off.
        It depends on the crop alone. On a CPU each crop is a batch of its own, which is no slower there, so its result
        is the same bytes whatever else is in ``crops_rgb``; on a GPU (some compute in bfloat16) the batch's shape may
        move a value by rounding.

        Args:
            crops_rgb: (H, W, 3) uint8 RGB each, H and W at least 1, sizes may differ; may be empty.
            landmarks: each crop's, in its pixels. A model of aligned faces needs them; others do without.

        Returns:
            (4H, 4W, 3) uint8 RGB each, in the same order.

        Raises:
            ValueError: a crop has another shape or dtype; the message gives its number. Or a model needs landmarks.
            torch.OutOfMemoryError, RuntimeError: even one crop alone does not fit into memory.
        """
        for number, crop_rgb in enumerate(crops_rgb):
            _check_crop(crop_rgb, number)
        return self._compute(crops_rgb)

    def _compute(self, images_rgb: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """Pictures (H, W, 3) of any sizes through the network, in buckets of equal padded size."""
        multiple = self._handling.side_multiple
        buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, image_rgb in enumerate(images_rgb):
            buckets[bucket_size(image_rgb.shape[0], image_rgb.shape[1], multiple)].append(number)
        restored: dict[int, NDArray[np.uint8]] = {}
        for size, numbers in buckets.items():
            padded_rgb = np.stack([pad_to_bucket(images_rgb[number], multiple) for number in numbers])
            for number, result_rgb in zip(numbers, self._restore_bucket(padded_rgb, size), strict=True):
                height, width = images_rgb[number].shape[:2]
                scale = result_rgb.shape[0] // size[0]
                restored[number] = result_rgb[: scale * height, : scale * width].copy()
        return [restored[number] for number in range(len(images_rgb))]

    def _batch_limit(self, size: tuple[int, int]) -> int:
        """How many crops of a (height, width) to compute at once."""
        if self._device.type == "cpu" or self._handling.alone:
            return 1
        return max(1, self._batch_pixels // (size[0] * size[1]))

    def _restore_bucket(self, padded_rgb: NDArray[np.uint8], size: tuple[int, int]) -> list[NDArray[np.uint8]]:
        """Crops of one size, in batches; one that does not fit into memory is halved, down to one crop.

        Later batches are as small from the start.
        """
        limit = self._batch_limit(size)
        restored: list[NDArray[np.uint8]] = []
        while len(restored) < len(padded_rgb):
            batch_rgb = padded_rgb[len(restored) :][:limit]
            try:
                restored += list(run_network(self._network, batch_rgb, device=self._device, bfloat16=self._bfloat16))
                continue
            except RuntimeError as error:
                if len(batch_rgb) == 1 or not _is_out_of_memory(error):
                    raise
            # Only here: while the error is handled, its traceback keeps the batch's tensors.
            limit = len(batch_rgb) // 2
            self._batch_pixels = limit * size[0] * size[1]
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
        return restored


class AlignedFaceExpert(Expert):
    """A network that takes faces on the 512 px template of FFHQ, and gives them back restored.

    Crops are plainly enlarged; the restored face is pasted over, with a soft edge where the template ends.
    """

    @property
    def uses_landmarks(self) -> bool:
        return True

    def restore(
        self, crops_rgb: Sequence[NDArray[np.uint8]], landmarks: Sequence[Landmarks] | None = None
    ) -> list[NDArray[np.uint8]]:
        """See :meth:`Expert.restore`. A crop whose landmarks fall together is only enlarged."""
        for number, crop_rgb in enumerate(crops_rgb):
            _check_crop(crop_rgb, number)
        if landmarks is None or len(landmarks) != len(crops_rgb):
            given = "none" if landmarks is None else f"{len(landmarks)} of {len(crops_rgb)}"
            raise ValueError(f"{self!r} aligns faces by their landmarks; {given} given")
        matrices = [alignment(places) for places in landmarks]
        placed = [number for number, matrix in enumerate(matrices) if matrix is not None]
        restored = [enlarge(crop_rgb) for crop_rgb in crops_rgb]
        # One at a time: a face is 0.75 MB here, and at most as large again when it comes back.
        for number in placed:
            matrix = matrices[number]
            assert matrix is not None
            (face_rgb,) = self._compute([align_face(crops_rgb[number], matrix)])
            restored[number] = paste_face(restored[number], face_rgb, matrix, EXPERT_SCALE)
        return restored


def load_expert(
    name: ExpertName, *, device: str = "cpu", fidelity: float = DEFAULT_FIDELITY, weights_path: Path | None = None
) -> Expert:
    """Load an expert.

    Args:
        name: which route it serves.
        device: a torch device, "cpu", "cuda", "cuda:1" ...
        fidelity: 0 to 1: which of its two sets of weights it is, or how much of each (:mod:`weights.fidelity`).
        weights_path: a file to use instead of the registered sets; it is then taken as it is, whatever its hash and the
            fidelity. It may hold one of facemill's architectures, SRNet, or anything that spandrel recognises.

    Raises:
        WeightsError: the weights are not registered, absent, changed, or do not fit.
        ValueError: the fidelity is outside of 0 to 1.
    """
    if weights_path is not None:
        return _load_file(name, weights_path, device)
    entries = {set_name: find_weights(set_name) for set_name in weight_sets(name, fidelity)}
    paths = [verify_weights(entry) for entry in entries.values()]
    if len(paths) == 1:
        network = network_from_file(paths[0], scale=EXPERT_SCALE)
    else:
        faithful, natural = paths
        network = network_between(faithful, natural, fidelity, scale=EXPERT_SCALE)
    sha256 = mixed_sha256({set_name: entry.sha256 for set_name, entry in entries.items()}, fidelity)
    return Expert(name, network, sha256, device=device)


def _load_file(name: ExpertName, path: Path, device: str) -> Expert:
    """Any model that is recognised by its state dict."""
    state = read_state(path)
    sha256 = sha256_of(path)
    own = architecture_of(state)
    if own is not None:
        network = network_of(state, str(path), scale=EXPERT_SCALE)
        return Expert(name, network, sha256, device=device, handling=own.handling)
    refuse_not_finite(state, str(path))
    model, handling, aligned = model_of(state, str(path), scale=EXPERT_SCALE)
    return (AlignedFaceExpert if aligned else Expert)(name, model, sha256, device=device, handling=handling)


def bucket_size(height: int, width: int, multiple: int = BUCKET_MULTIPLE) -> tuple[int, int]:
    """The (height, width) that a crop is computed at: each side rounded up to a multiple of so many px."""
    tall, wide = max(SMALLEST_SIDE, height), max(SMALLEST_SIDE, width)
    return -(-tall // multiple) * multiple, -(-wide // multiple) * multiple


def pad_to_bucket(crop_rgb: NDArray[np.uint8], multiple: int = BUCKET_MULTIPLE) -> NDArray[np.uint8]:
    """Mirror a crop's right and bottom edge up to its bucket's size; (H, W, 3) uint8."""
    height, width = crop_rgb.shape[:2]
    bucket_height, bucket_width = bucket_size(height, width, multiple)
    return np.pad(crop_rgb, ((0, bucket_height - height), (0, bucket_width - width), (0, 0)), mode="reflect")


def enlarge(crop_rgb: NDArray[np.uint8], interpolation: int = cv2.INTER_CUBIC) -> NDArray[np.uint8]:
    """Plain enlargement by one of OpenCV's interpolations, (H, W, 3) -> (4H, 4W, 3) uint8."""
    height, width = crop_rgb.shape[:2]
    size = (EXPERT_SCALE * width, EXPERT_SCALE * height)
    return np.asarray(cv2.resize(crop_rgb, size, interpolation=interpolation), np.uint8)


def run_network(
    network: nn.Module, crops_rgb: NDArray[np.uint8], *, device: torch.device, bfloat16: bool = False
) -> NDArray[np.uint8]:
    """One forward pass, (N, H, W, 3) -> (N, kH, kW, 3), k the network's scale, uint8 RGB.

    In bfloat16 where that is asked for, else in float32: see docs/architecture.md.
    """
    image = torch.from_numpy(np.ascontiguousarray(crops_rgb)).to(device).permute(0, 3, 1, 2).float().div(255)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        levels = network(image).float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a GPU had no more memory; not every part of CUDA says so with the type."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is computed in hardware there: CUDA from compute capability 8.0 on; older cards emulate it."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= _BFLOAT16_CAPABILITY


def _check_crop(crop_rgb: NDArray[np.uint8], number: int) -> None:
    shape, dtype = crop_rgb.shape, crop_rgb.dtype
    if len(shape) != 3 or shape[2] != 3 or dtype != np.uint8 or min(shape[:2]) < 1:
        raise ValueError(f"crop {number} is {shape} {dtype}; expected (H, W, 3) uint8, H and W at least 1 px")
