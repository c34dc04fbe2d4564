"""A restored face, reduced to the source's size, must agree with the source as far as that can be believed.

An expert may draw what the source has lost. It may not change a colour, nor take away what plainly is there: a hand, a
microphone, spectacles. So what a restored crop shows at the source's own resolution is compared with the source, and
the difference is put back (back-projection: Irani and Peleg, "Improving Resolution by Image Registration", 1991),
but not all of it: noise and a codec's artefacts are differences, too, and restoring means to leave these out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from actors.geometry import Landmarks

TOLERANCE = 16.0
"""Grey levels by which a restored crop may differ from its source in places of a few source px. 99 % of what the
experts change on faces under heavy noise and compression is less."""

TONE_TOLERANCE = 0.5
"""Grey levels by which its colour and light may differ. A codec leaves those off by as much, and the experts know
better: held to the source's own, they are 0.03 dB farther from the truth on medium faces of 100 and 125 px."""

_PLACE_SIGMA = 1.0
"""Source px: averages noise away, keeps what is as wide as a spectacle frame."""

_TONE_SHARE = 1 / 10
"""Sigma of what counts as colour and light rather than detail, in widths of the crop: neither noise nor a codec
moves it."""


class Restoring(Protocol):
    """What restores crops, as :class:`actors.experts.Expert` does."""

    @property
    def uses_landmarks(self) -> bool:
        """Whether what it makes of a crop depends on the landmarks."""

    def restore(
        self, crops_rgb: Sequence[NDArray[np.uint8]], landmarks: Sequence[Landmarks]
    ) -> list[NDArray[np.uint8]]:
        """As many crops, larger by a whole factor and clearer."""


def restore_agreeing(
    expert: Restoring, crops_rgb: Sequence[NDArray[np.uint8]], landmarks: Sequence[Landmarks]
) -> list[NDArray[np.uint8]]:
    """What an expert makes of crops, each held to its source by :func:`agreeing_patch`."""
    restored = expert.restore(crops_rgb, landmarks)
    return [agreeing_patch(patch, crop) for patch, crop in zip(restored, crops_rgb, strict=True)]


def agreeing_patch(patch_rgb: NDArray[np.uint8], crop_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A restored crop with the source's colour and light, and with what it took away put back.

    Args:
        patch_rgb: (scale * H, scale * W, 3) uint8, the restored crop; any whole scale.
        crop_rgb: (H, W, 3) uint8, its source.

    Returns:
        (scale * H, scale * W, 3) uint8. Reduced by area to (H, W), its mean colour is the source's to within one level,
        and blurred by one px it differs from the source by little more than :data:`TOLERANCE`.

    Raises:
        ValueError: the patch is not a whole multiple of the crop.
    """
    height, width = crop_rgb.shape[:2]
    scale = patch_rgb.shape[0] // height
    if patch_rgb.shape != (scale * height, scale * width, 3):
        raise ValueError(f"patch is {patch_rgb.shape}; expected a whole multiple of the crop, {crop_rgb.shape}")
    patch = patch_rgb.astype(np.float32)
    lost = crop_rgb.astype(np.float32) - cv2.resize(patch, (width, height), interpolation=cv2.INTER_AREA)
    tone = _blurred(lost, max(_PLACE_SIGMA, _TONE_SHARE * min(height, width)))
    places = _blurred(lost - tone, _PLACE_SIGMA)
    owed = _beyond(tone, TONE_TOLERANCE) + _beyond(places, TOLERANCE)
    returned = cv2.resize(owed, (scale * width, scale * height), interpolation=cv2.INTER_LINEAR)
    return np.clip(np.rint(patch + returned), 0, 255).astype(np.uint8)


def _beyond(difference: NDArray[np.float32], tolerance: float) -> NDArray[np.float32]:
    """What of a difference a tolerance does not cover."""
    return difference - np.clip(difference, -tolerance, tolerance)


def _blurred(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), np.float32)
