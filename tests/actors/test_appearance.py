"""Two people are told apart by what little is kept of their looks; light and noise make no other person."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from actors.appearance import appearance_of, likeness
from actors.geometry import Box

BOX = Box(40, 30, 90, 95)


def person(seed: int) -> NDArray[np.uint8]:
    """(180, 140, 3): a frame full of soft shapes in one's own colours."""
    coarse = np.random.default_rng(seed).uniform(30, 200, (9, 7, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (140, 180), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def test_noise_and_light_change_a_person_less_than_another_does() -> None:
    rng = np.random.default_rng(0)
    looks = [appearance_of(person(seed), BOX) for seed in range(8)]
    for seed, own in enumerate(looks):
        seen = np.clip(person(seed) * 1.1 + 8 + rng.normal(0, 6, (180, 140, 3)), 0, 255).astype(np.uint8)
        again = appearance_of(seen, BOX)
        alike = [likeness(again, other) for other in looks]
        assert alike[seed] == max(alike)
        assert alike[seed] - sorted(alike)[-2] > 0.2
        assert likeness(own, own) == 1


def test_a_face_at_the_edge_or_outside_is_no_error() -> None:
    frame = person(0)
    for box in (Box(-30, -20, 20, 40), Box(120, 150, 180, 230), Box(300, 300, 340, 350), Box(5, 5, 5.2, 5.2)):
        assert appearance_of(frame, box).shape == (9, 6, 3)
