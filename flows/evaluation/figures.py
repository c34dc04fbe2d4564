"""How near a restored face is to its original, and how like the person it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from actors.identity import Embedding, IdentityMeter, cosine
from actors.quality import laplacian_variance
from flows.evaluation.samples import Image, Sample
from flows.perception.lpips import Lpips, load_lpips
from flows.training.validation import psnr
from storage.errors import UsageError
from weights import WeightsError, find_weights, verify_weights

METRIC_WEIGHTS = ("lpips_alex", "sface")
FIGURES_VERSION = 1
"""Raised when a figure is computed differently, so that remembered figures are not mixed with new ones."""


@dataclass(frozen=True)
class Figures:
    """Of one restored face, inside its box.

    Attributes:
        psnr: dB over red, green and blue; 99 when equal.
        ssim: Wang et al. (2004), mean of the channels, 7 x 7 window.
        lpips: with AlexNet; 0 is equal.
        cosine: of SFace's embeddings of result and original; 1 is equal.
        sharpness: variance of the Laplacian, result / original: below 1 softer, above 1 sharper or noisier.
        ms: time to restore the crop; None where it was not taken on the device and threads in use.
    """

    psnr: float
    ssim: float
    lpips: float
    cosine: float
    sharpness: float
    ms: float | None


NAMES = ("psnr", "ssim", "lpips", "cosine", "sharpness")
"""Of the figures that follow from the pixels."""


class Meter:
    """Takes figures of results."""

    def __init__(self, lpips: Lpips, identity: IdentityMeter, *, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._lpips = lpips.to(self._device)
        self._identity = identity
        self._ssim = structural_similarity()
        self._originals: dict[tuple[str, int], Embedding] = {}

    def measure(self, sample: Sample, restored_rgb: Image, ms: float | None) -> Figures:
        """Compare a restorer's answer to a sample's crop with the truth."""
        result = sample.overlaid(restored_rgb)
        found, wanted = (np.ascontiguousarray(image[sample.box.slices]) for image in (result, sample.truth))
        return Figures(
            psnr=psnr(found, wanted),
            ssim=self._ssim(found, wanted),
            lpips=self._distance(found, wanted),
            cosine=cosine(self._identity.embed(result, sample.landmarks), self._original(sample)),
            sharpness=laplacian_variance(found) / max(laplacian_variance(wanted), 1e-9),
            ms=ms,
        )

    def _distance(self, found: Image, wanted: Image) -> float:
        with torch.inference_mode():
            pair = [
                torch.from_numpy(image).to(self._device).permute(2, 0, 1)[None].float().div(255)
                for image in (found, wanted)
            ]
            return float(self._lpips(pair[0], pair[1])[0])

    def _original(self, sample: Sample) -> Embedding:
        """Of the truth, which strengths and restorers share."""
        key = (sample.name, sample.width)
        if key not in self._originals:
            self._originals[key] = self._identity.embed(sample.truth, sample.landmarks)
        return self._originals[key]


def structural_similarity() -> Callable[[Image, Image], float]:
    """SSIM of two images, mean over pixels and channels.

    Raises:
        UsageError: scikit-image is not installed.
    """
    try:
        from skimage.metrics import structural_similarity as ssim
    except ImportError as error:
        raise UsageError("eval needs scikit-image: pip install 'facemill[eval]'") from error
    return lambda found, wanted: float(ssim(found, wanted, data_range=255, channel_axis=2))


def load_meter(*, device: str = "cpu") -> Meter:
    """The meter with the registered weights of LPIPS and SFace.

    Raises:
        UsageError: scikit-image is not installed.
        WeightsError: they are absent or damaged; the message says how to fetch them.
    """
    paths = metric_weights()
    return Meter(load_lpips("alex", paths["lpips_alex"]), IdentityMeter(paths["sface"]), device=device)


def metric_weights() -> dict[str, Path]:
    """Where the networks that measure are, all of them checked.

    Raises:
        WeightsError: one is absent or damaged.
    """
    entries, missing = {}, []
    for name in METRIC_WEIGHTS:
        try:
            entries[name] = find_weights(name)
        except WeightsError:
            missing.append(name)
    if missing:
        raise WeightsError(
            f"eval measures with {' and '.join(missing)}, not here yet; fetch with "
            f"`facemill weights pull {' '.join(missing)}`"
        )
    return {name: verify_weights(entry) for name, entry in entries.items()}
