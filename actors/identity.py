"""Whether two pictures show the same person: SFace's embedding of an aligned face.

Zhong et al., "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition" (2021), run by OpenCV from the
ONNX file of its model zoo (``sface`` in the registry of weights).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from actors.geometry import Landmarks
from weights import WeightsError

EMBEDDING_LENGTH = 128

IdentityWeights = Callable[[], bytes]
"""Gives what is in SFace's file, on whatever machine an actor runs."""

COMMON_WIDTH = 128
"""Width of a face box, px, about as large as SFace sees it: nothing is lost, and no detail aliases."""

Embedding = NDArray[np.float32]
"""(128,) of length 1."""

_NOISE_SIGMA = 1.0
"""Source px: noise and what a codec adds are finer, most of a face is not. Of 0.7, 1.25 and 1.5 px none parts good
restorations from wrong ones better (docs/evaluation.md has what 1 px does)."""


class IdentityMeter:
    """SFace with its weights. Not thread-safe: an actor makes its own."""

    def __init__(self, model: Path | bytes) -> None:
        """Args:
            model: SFace's ONNX file, or what is in it.

        Raises:
            WeightsError: it is not such a network, or cannot be read.
        """
        told = "SFace's weights" if isinstance(model, bytes) else str(model)
        logging = cv2.utils.logging
        level = logging.setLogLevel(logging.LOG_LEVEL_ERROR)  # its warning about targets says nothing to a person
        try:
            content = model if isinstance(model, bytes) else model.read_bytes()
            network = np.frombuffer(content, np.uint8)
            self._recogniser = cv2.FaceRecognizerSF.create("onnx", network, np.empty(0, np.uint8))
        except OSError as error:
            raise WeightsError(f"{told}: cannot be read ({error.strerror})") from error
        except cv2.error as error:
            raise WeightsError(f"{told}: OpenCV cannot read it as SFace; fetch it again ({error.err})") from error
        finally:
            logging.setLogLevel(level)

    def embed(self, image_rgb: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> Embedding:
        """The embedding of one face.

        The face is brought to SFace's 112 x 112 template by a similarity transform; what lies outside of the image is
        black there, so compare pictures that show as much around the face.

        Args:
            image_rgb: (H, W, 3) uint8 RGB.
            landmarks: (5, 2) x, y in its pixels: eyes, nose, corners of the mouth, the left one in the picture
                first. As OpenCV counts, the first pixel's centre is at 0: subtract 0.5 from
                :data:`actors.geometry.Landmarks`, for which that pixel is [0, 1).

        Raises:
            ValueError: another shape or dtype.
        """
        if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8:
            raise ValueError(f"image is {image_rgb.shape} {image_rgb.dtype}; expected (H, W, 3) uint8")
        if np.shape(landmarks) != (5, 2):
            raise ValueError(f"landmarks are {np.shape(landmarks)}; expected (5, 2)")
        # OpenCV takes a row of its own detector: box (unused here), five points, score.
        found = np.concatenate([[0, 0, 1, 1], np.asarray(landmarks, np.float32).ravel(), [1]])
        image_bgr = np.ascontiguousarray(image_rgb[..., ::-1])
        aligned = self._recogniser.alignCrop(image_bgr, found.astype(np.float32)[None])
        vector = self._recogniser.feature(aligned).reshape(EMBEDDING_LENGTH)
        return _of_length_one(vector)

    def embed_face(self, image_rgb: NDArray[np.uint8], landmarks: Landmarks, width: float) -> Embedding:
        """The embedding of one face, brought to a common size first, so that pictures of several sizes compare.

        Args:
            image_rgb: (H, W, 3) uint8 RGB.
            landmarks: in its pixels, as :data:`actors.geometry.Landmarks`.
            width: of the face box, its pixels.
        """
        height, across = image_rgb.shape[:2]
        factor = COMMON_WIDTH / width
        size = (max(1, round(factor * across)), max(1, round(factor * height)))
        sized = image_rgb
        if size != (across, height):
            sized = np.asarray(
                cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC), np.uint8
            )
        places = np.asarray(landmarks, np.float64) * (size[0] / across, size[1] / height) - 0.5
        return self.embed(sized, places)

    def similarity(
        self,
        first_rgb: NDArray[np.uint8],
        second_rgb: NDArray[np.uint8],
        landmarks: NDArray[np.floating],
    ) -> float:
        """Cosine between two pictures of one size that have the face in the same place; see :meth:`embed`."""
        return cosine(self.embed(first_rgb, landmarks), self.embed(second_rgb, landmarks))


def without_noise(crop_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A face as its identity is taken from it, slightly blurred: SFace takes noise and a codec's edges for traits.

    A restoration takes both away, so that it seems to move away from its person when it is compared with them in.

    Args:
        crop_rgb: (H, W, 3) uint8, at its source's resolution.

    Returns:
        (H, W, 3) uint8.
    """
    return np.asarray(cv2.GaussianBlur(crop_rgb, (0, 0), _NOISE_SIGMA), np.uint8)


def mean_embedding(faces: Sequence[Embedding]) -> Embedding:
    """What several embeddings of one person, at least one, have in common."""
    return _of_length_one(np.sum(faces, axis=0))


def _of_length_one(vector: NDArray) -> Embedding:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


def cosine(first: Embedding, second: Embedding) -> float:
    """Cosine of two embeddings: 1 is the same picture; people who differ are near 0."""
    return float(np.dot(first, second))
