"""Boxes that stay where a still face is: MTCNN's output network is asked again about the box that it gave.

MTCNN cuts its candidates out at whole pixels and keeps the one with the best score, so with fresh noise in each frame
the box of a still face jumps by half a percent of its width or more. Here the face is cut out between pixels, where the
last answer was, and the next box is half-way from there to the new answer: without the half the answers swing to and
fro. Measured on still portraits with noise in H.264, 80 and 120 px wide: the standard deviation of box centre and width
falls from 0.3-0.9 px to 0.05-0.13 px.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from actors.geometry import Box

if TYPE_CHECKING:
    import torch

ROUNDS = 4
"""Times that the network is asked; each about halves what is left of the jitter."""

_INPUT = 48
"""Pixels a side that the output network sees."""


class BoxSettler:
    """MTCNN's output network, asked about boxes."""

    def __init__(self, output_network: torch.nn.Module, device: torch.device) -> None:
        self._network, self._device = output_network, device

    def settle(self, frame_rgb: np.ndarray, boxes: Sequence[Box]) -> tuple[list[Box], list[np.ndarray]]:
        """Boxes near the given ones that the network agrees with, and the landmarks it sees there.

        What is said of a face depends on its frame and its box alone, but for the last bits.

        Args:
            frame_rgb: (H, W, 3) uint8 RGB.
            boxes: of faces in it.

        Returns:
            As many boxes, and for each (5, 2) float64 landmarks.
        """
        if not boxes:
            return [], []
        at = np.array(boxes, dtype=np.float64)
        answers = []
        for _ in range(ROUNDS):
            answer, landmarks = self._asked(frame_rgb, _squares(at))
            at = (at + answer) / 2
            answers.append(landmarks)
        settled = [Box(*map(float, box)) for box in at]
        # Landmarks swing with the boxes: the mean of the last two answers is between.
        return settled, list(np.mean(answers[-2:], axis=0))

    def _asked(self, frame_rgb: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the network says of (N, 4) squares: boxes (N, 4) and landmarks (N, 5, 2), both float64."""
        import torch

        pixels = np.stack([_cut_out(frame_rgb, square) for square in squares]).transpose(0, 3, 1, 2)
        with torch.inference_mode():
            crops = (torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device) - 127.5) / 128
            shifts, places, _ = (answer.cpu().numpy().astype(np.float64) for answer in self._network(crops))
        side = (squares[:, 2] - squares[:, 0])[:, None]
        xs, ys = squares[:, :1] + side * places[:, :5], squares[:, 1:2] + side * places[:, 5:]
        return squares + side * shifts, np.stack([xs, ys], axis=-1)


def _squares(boxes: np.ndarray) -> np.ndarray:
    """(N, 4): about the same centres, with the longer side on both axes, as MTCNN shows its networks."""
    half = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])[:, None] / 2
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.hstack([centre - half, centre + half])


def _cut_out(frame_rgb: np.ndarray, square: np.ndarray) -> np.ndarray:
    """(48, 48, 3) float32: the pixels of a square that lies anywhere; black outside the frame."""
    side = float(square[2] - square[0])
    samples = max(1, math.ceil(side / _INPUT))  # along each side of an input pixel, at most a frame pixel apart
    step = side / (_INPUT * samples)
    matrix = np.array([[step, 0, square[0] + step / 2 - 0.5], [0, step, square[1] + step / 2 - 0.5]])
    sampled = cv2.warpAffine(
        frame_rgb,
        matrix,
        (_INPUT * samples, _INPUT * samples),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    ).astype(np.float32)
    return sampled.reshape(_INPUT, samples, _INPUT, samples, 3).mean(axis=(1, 3))
