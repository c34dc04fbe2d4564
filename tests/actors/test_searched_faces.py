"""A track's own identity is taken from its sharpest faces, of each without its noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actors.geometry import Box, Placement, Rect
from actors.identity import Embedding, without_noise
from actors.searched_faces import SearchedFaces
from actors.tracking import Detection, Track, TrackTimeline

SIDE = 120
BOX = Box(40, 40, 80, 80)
PLACES = ((50.0, 52.0), (70.0, 52.0), (60.0, 60.0), (52.0, 70.0), (68.0, 70.0))
SHARPNESSES = (9.0, 1.0, 8.0, 7.0, 2.0, 6.0, 5.0)


class Seeing:
    """A meter that keeps what it is shown; its embeddings stand at right angles."""

    def __init__(self) -> None:
        self.seen: list[NDArray[np.uint8]] = []

    def embed_face(self, image_rgb: NDArray[np.uint8], landmarks: object, width: float) -> Embedding:
        self.seen.append(image_rgb)
        return np.eye(len(SHARPNESSES), dtype=np.float32)[round(float(image_rgb[..., 2].mean()) / 10)]


def test_a_tracks_identity_is_that_of_its_sharpest_faces_without_noise() -> None:
    meter = Seeing()
    kept = SearchedFaces(meter, Placement((SIDE, SIDE), (2 * SIDE, 2 * SIDE)), turns=0)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    found = [Detection(BOX, PLACES, 0.9, sharpness, f"{k}:0") for k, sharpness in enumerate(SHARPNESSES)]
    frames = []
    for k, face in enumerate(found):
        frame_rgb = rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
        frame_rgb[..., 2] = 10 * k
        kept.keep(frame_rgb, face)
        frames.append(frame_rgb)
    timeline = TrackTimeline(
        Track(0, tuple(found)),
        tuple(range(len(found))),
        (BOX,) * len(found),
        (PLACES,) * len(found),
        starts=None,
        ends=None,
        fades_in=None,
        fades_out=None,
        tiles=(Rect(0, 0, SIDE, SIDE),) * len(found),
    )
    identity = kept.identity_near(timeline, 3)
    assert identity is not None
    np.testing.assert_allclose(identity, np.array([1, 0, 1, 1, 0, 1, 1]) / 5**0.5, atol=1e-6)
    crop = Placement((SIDE, SIDE), (2 * SIDE, 2 * SIDE)).crop_rect(BOX)
    np.testing.assert_array_equal(meter.seen[0], without_noise(frames[3][crop.slices].copy()))


def test_without_noise_a_face_keeps_what_is_wider_than_a_few_pixels() -> None:
    rows, columns = np.indices((64, 64))
    noise = np.random.default_rng(0).normal(0, 20, (64, 64))
    wide = 128 + 60 * np.sin(columns / 6) * np.cos(rows / 6)
    noisy = np.repeat(np.clip(wide + noise, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    left = without_noise(noisy)[..., 0].astype(float) - wide
    assert np.std(left) < 0.4 * np.std(noise)
