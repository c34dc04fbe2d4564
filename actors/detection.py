"""Finding faces in frames: MTCNN (Zhang et al., "Joint Face Detection and Alignment using MTCNN", 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from actors.box_settling import BoxSettler
from actors.geometry import Box, Landmarks

_STAGE_THRESHOLDS = (0.6, 0.7, 0.7)
"""Of the proposal, refinement and output networks, as published."""

_PYRAMID_FACTOR = 0.709
"""Ratio of neighbouring pyramid levels: about half the area, as published."""

_NETWORK_INPUT = 12
"""Pixels a side that the proposal network sees: a frame's shorter side must hold one such face."""

_STEP = 1 / 64
"""Boxes and landmarks are rounded to this, so that the last bits of a convolution do not decide where a crop begins."""


class DetectionSettings(BaseModel):
    """What counts as a face, and how often frames are searched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detect_every: int = Field(5, ge=1, le=250)
    """Frames from one search to the next; in between, boxes are interpolated."""
    min_face: int = Field(32, ge=12, le=2000)
    """Narrowest face that is searched for, source pixels. Time grows with the inverse square."""
    score: float = Field(0.9, ge=0.5, le=1.0)
    """Lowest score that counts as a face."""
    smoothing: bool = True
    """Average boxes and landmarks over time, without lag; else each is as it was found."""


class FaceFound(NamedTuple):
    """One detected face."""

    box: Box
    score: float
    landmarks: Landmarks


class MtcnnDetector:
    """MTCNN with the weights that come inside facenet-pytorch."""

    def __init__(self, settings: DetectionSettings, *, device: str = "cpu") -> None:
        # Imported here: the driver and the command line read the settings above and need not wait for torch.
        import torch
        from facenet_pytorch import MTCNN
        from facenet_pytorch.models.utils.detect_face import detect_face

        self._settings = settings
        self._device = torch.device(device)
        self._networks = MTCNN(device=self._device)
        self._settler = BoxSettler(self._networks.onet, self._device)
        self._detect_face = torch.inference_mode()(detect_face)

    def detect(self, frames_rgb: Sequence[np.ndarray]) -> list[list[FaceFound]]:
        """Faces of each frame, left to right.

        Args:
            frames_rgb: (H, W, 3) uint8 RGB, all of one size.
        """
        if not frames_rgb:
            return []
        if min(frames_rgb[0].shape[:2]) <= max(self._settings.min_face, _NETWORK_INPUT):
            return [[] for _ in frames_rgb]
        boxes, _ = self._detect_face(
            np.stack(frames_rgb),
            self._settings.min_face,
            self._networks.pnet,
            self._networks.rnet,
            self._networks.onet,
            _STAGE_THRESHOLDS,
            _PYRAMID_FACTOR,
            self._device,
        )
        return [self._faces(frame_rgb, found) for frame_rgb, found in zip(frames_rgb, boxes, strict=True)]

    def _faces(self, frame_rgb: np.ndarray, found: np.ndarray) -> list[FaceFound]:
        """The faces of a frame among MTCNN's boxes, (N, 5): four edges and the score."""
        kept = [
            box for box in found if box[4] >= self._settings.score and box[2] - box[0] >= 1 and box[3] - box[1] >= 1
        ]
        boxes, places = self._settler.settle(frame_rgb, [Box(*map(float, box[:4])) for box in kept])
        faces = [
            FaceFound(
                Box(*map(_rounded, settled)), float(box[4]), tuple((_rounded(x), _rounded(y)) for x, y in landmarks)
            )
            for box, settled, landmarks in zip(kept, boxes, places, strict=True)
        ]
        return sorted(faces, key=lambda face: face.box)


def _rounded(coordinate: float) -> float:
    return round(float(coordinate) / _STEP) * _STEP
