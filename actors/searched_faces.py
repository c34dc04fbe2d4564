"""The faces that were found in a shard's window, with their pixels: beyond a row's range there are no other frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actors.crops import STILL_STEP
from actors.geometry import Placement, Rect, landmarks_in_crop
from actors.identity import Embedding, IdentityMeter, mean_embedding, without_noise
from actors.tracking import Detection, TrackTimeline

_REFERENCE_REACH = 4
"""Grid points on either side in which a track's own identity is looked for."""

_BEST_FACES = 5
"""So many of the sharpest there make it."""

_KEPT_MARGIN = 0.2
"""Share of the box that is kept of a searched frame about a crop: the smoothed box is near the one found, and what
holds all boxes of a face that stays reaches little farther."""


class SearchedFaces:
    """What is kept of the faces that were found in a shard's window, by their detections' identifiers."""

    def __init__(self, meter: IdentityMeter | None, placement: Placement, turns: int) -> None:
        """Args:
        meter: None where nobody will ask for an embedding.
        turns: that bring a frame upright, of 90 degrees to the left.
        """
        self._meter, self._placement, self._turns = meter, placement, turns
        self._kept: dict[str, tuple[Rect, NDArray[np.uint8]]] = {}
        self._embeddings: dict[str, Embedding] = {}

    def keep(self, frame_rgb: NDArray[np.uint8], found: Detection) -> None:
        """Keep what is needed of a face, and of the frame it was found in."""
        rect = self._placement.crop_rect(found.box.grown(_KEPT_MARGIN), step=STILL_STEP)
        if rect.width > 0 and rect.height > 0:
            self._kept[found.identifier] = (rect, frame_rgb[rect.slices].copy())

    def cut(self, found: Detection, crop: Rect) -> NDArray[np.uint8] | None:
        """The frame's pixels in `crop`; None where the face was not found, or is kept only in part."""
        if found.identifier not in self._kept:
            return None
        rect, kept_rgb = self._kept[found.identifier]
        return kept_rgb[crop.slices_in(rect)].copy() if rect.contains(crop) else None

    def embedding(self, found: Detection) -> Embedding | None:
        """Of a face as it was found, without noise; None where it is not kept."""
        if found.identifier not in self._embeddings:
            crop = self._placement.crop_rect(found.box)
            pixels_rgb = self.cut(found, crop)
            if pixels_rgb is None:
                return None
            upright = np.ascontiguousarray(np.rot90(pixels_rgb, self._turns))
            places = landmarks_in_crop(found.landmarks, crop, self._turns)
            assert self._meter is not None
            self._embeddings[found.identifier] = self._meter.embed_face(without_noise(upright), places, found.box.width)
        return self._embeddings[found.identifier]

    def identity_near(self, timeline: TrackTimeline, at: int) -> Embedding | None:
        """A track's own identity about a grid point; None where its face there is not kept."""
        detections = timeline.track.detections
        own = self.embedding(detections[at])
        if own is None:
            return None
        near = [k for k in range(at - _REFERENCE_REACH, at + _REFERENCE_REACH + 1) if 0 <= k < len(detections)]
        best = sorted(near, key=lambda k: (-detections[k].sharpness, k))[:_BEST_FACES]
        faces = [face for k in sorted(best) if (face := self.embedding(detections[k])) is not None]
        return mean_embedding(faces or [own])
