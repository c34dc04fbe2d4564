"""The identity gate: a restored face that moves away from its person, or is full of a pattern, shows less, or not.

It is judged at a track's grid points, by witnesses: the face there before and after its restoration. Both are compared
with the track's own identity, the mean embedding of its sharpest faces near by, of each without its noise. Restoring
costs a face some likeness to its blurred self, so it may be farther off than its source by :func:`allowed_drop`; and a
face of which a share shows, by that share of it. What a restored face has in its finest octave is compared with the
next one: no face has more in there, but the patterns of a broken network have. docs/evaluation.md has how the bounds
were found, and what they catch.

What a frame gets follows from the witnesses about it alone, so that it is the same in whichever shard the frame lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from actors.geometry import Landmarks
from actors.identity import Embedding, IdentityMeter, cosine
from actors.tracking import LOOKS_AHEAD, LOOKS_BACK

STEPS = (1.0, 0.75, 0.5, 0.25)
"""Strengths that are tried in turn; a face that passes at none is left as it was."""

ALLOWED_DROPS = ((50.0, 0.19), (64.0, 0.12), (80.0, 0.12), (100.0, 0.10), (125.0, 0.08))
"""(width of the face in source px, most that the similarity of one whose sharpness is 60 may drop), linear between,
held beyond the ends."""

SHARP_FACTORS = ((20.0, 1.15), (60.0, 1.0), (320.0, 0.85), (1280.0, 0.3))
"""(sharpness of the face, factor of that drop), linear in the logarithm: what is sharp is changed little."""

MOST_FINE_DETAIL = 1.05
"""Of :func:`fine_detail`. Restored faces of people held out from training stay under 0.98, those of shuffled weights
begin at 1.11."""

_SURROUNDINGS = 0.22
"""Share of a crop on either side that does not count as face when fine detail is measured."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a track at one grid point."""

    strength: float
    """Share of the restored face that may show: one of :data:`STEPS`, or 0."""
    similarity: float
    """Cosine of the face as restored, before any weakening, to the track's own identity."""
    source_similarity: float
    """Of the face as it was."""
    reason: str
    """Why it is weakened, with each step that was tried; empty when it is not."""


def allowed_drop(width: float, sharpness: float) -> float:
    """Most that the similarity of a good restoration drops.

    Args:
        width: of the face, source px.
        sharpness: q of the routing table.
    """
    bounds, factors = np.transpose(SHARP_FACTORS)
    factor = np.interp(np.log(max(sharpness, 1e-9)), np.log(bounds), factors)
    return float(factor * np.interp(width, *np.transpose(ALLOWED_DROPS)))


def fine_detail(face_rgb: NDArray[np.uint8]) -> float:
    """How much of a face is in its finest octave: root mean square over that of the next octave, of the grey picture.

    Args:
        face_rgb: (H, W, 3) uint8, a face with its surroundings.
    """
    grey = cv2.cvtColor(face_rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    height, width = grey.shape
    rows, columns = (slice(round(_SURROUNDINGS * side), round((1 - _SURROUNDINGS) * side)) for side in (height, width))
    grey = grey[rows, columns]
    if min(grey.shape) < 8:
        return 0.0
    halved, quartered = _without_finest(grey, 2), _without_finest(grey, 4)
    finest, next_octave = (float(np.sqrt(np.mean(octave**2))) for octave in (grey - halved, halved - quartered))
    return finest / max(next_octave, 0.25)  # flat skin has less than rounding adds


def _without_finest(grey: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    height, width = grey.shape
    small = cv2.resize(grey, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def weakened(patch_rgb: NDArray[np.uint8], crop_rgb: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    """A restored face of which a share shows over its enlarged source.

    Args:
        patch_rgb: (k * H, k * W, 3) uint8, as restored.
        crop_rgb: (H, W, 3) uint8, its source.
        strength: the share, from 0, the enlarged source, to 1, the restored face.

    Returns:
        (k * H, k * W, 3) uint8.
    """
    enlarged = cv2.resize(crop_rgb, patch_rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.addWeighted(patch_rgb, strength, enlarged, 1 - strength, 0), np.uint8)


class IdentityGate:
    """Judges restored faces. Not thread-safe: an actor makes its own."""

    def __init__(self, meter: IdentityMeter) -> None:
        self._meter = meter

    def judge(
        self,
        crop_rgb: NDArray[np.uint8],
        patch_rgb: NDArray[np.uint8],
        landmarks: Landmarks,
        width: float,
        sharpness: float,
        reference: Embedding,
    ) -> Verdict:
        """The greatest of :data:`STEPS` at which a restored face is still its person.

        Args:
            crop_rgb: (H, W, 3) uint8, upright.
            patch_rgb: (k * H, k * W, 3) uint8, what an expert made of it.
            landmarks: in pixels of the crop.
            width: of the face box, pixels of the crop.
            sharpness: of the unrestored face.
            reference: the track's own identity.
        """
        scale = patch_rgb.shape[1] / crop_rgb.shape[1]
        places = tuple((scale * x, scale * y) for x, y in landmarks)
        source_similarity = cosine(self._meter.embed_face(crop_rgb, landmarks, width), reference)
        allowed = allowed_drop(width, sharpness)
        similarities: list[float] = []
        faults: list[str] = []
        for strength in STEPS:
            shown = weakened(patch_rgb, crop_rgb, strength)
            similarities.append(cosine(self._meter.embed_face(shown, places, scale * width), reference))
            fault = _fault(similarities[-1], source_similarity - strength * allowed, fine_detail(shown))
            if not fault:
                break
            faults.append(f"{fault} at strength {strength:g}")
        strength = STEPS[len(faults)] if len(faults) < len(STEPS) else 0.0
        return Verdict(strength, similarities[0], source_similarity, "; ".join(faults))


def _fault(similarity: float, least: float, fine: float) -> str:
    if similarity < least:
        return f"identity {similarity:.3f} < {least:.3f}"
    return f"fine detail {fine:.2f} > {MOST_FINE_DETAIL:g}" if fine > MOST_FINE_DETAIL else ""


def gated_strength(along: float, witnesses: Sequence[Verdict | None]) -> tuple[float, str]:
    """Share of a restored face at a frame: linear between grid points, at each the least of what witnesses near it say.

    One witness in three lets a face pass that the next one does not, so a weak one counts for its neighbours, too: else
    the face would pulse, and show what it should not in between.

    Args:
        along: how far the frame is from its own grid point to the next, 0 to 1.
        witnesses: from `LOOKS_BACK` grid points before the frame's own to `LOOKS_AHEAD` after it; None where there is
            none.

    Returns:
        The share, 0 to 1, and the reason of the weakest witness that counts.

    Raises:
        ValueError: they are not as many.
    """
    if len(witnesses) != LOOKS_BACK + 1 + LOOKS_AHEAD:
        raise ValueError(f"{len(witnesses)} witnesses; expected {LOOKS_BACK} before, its own, {LOOKS_AHEAD} after")
    past, future = _weakest(witnesses[:-1]), _weakest(witnesses[1:])
    if past is None or future is None:
        only = past or future
        return (only.strength, only.reason) if only else (1.0, "")
    counted = min(past, future, key=_strength) if along > 0 else past
    return past.strength + (future.strength - past.strength) * along, counted.reason


def _weakest(witnesses: Sequence[Verdict | None]) -> Verdict | None:
    return min(filter(None, witnesses), key=_strength, default=None)


def _strength(verdict: Verdict) -> float:
    return verdict.strength
