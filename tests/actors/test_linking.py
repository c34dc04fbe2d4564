"""Faces that pass each other keep their tracks, however quick they are and whoever is hidden."""

from __future__ import annotations

import numpy as np
import pytest

from actors.geometry import Box
from actors.linking import link_tracks
from actors.tracking import DetectedFrame, Detection, Track
from tests.actors.test_tracking import NO_CUTS, NO_TILES, landmarks_in

WIDTH = 80.0
LOOKS = [np.random.default_rng(seed).integers(40, 200, (9, 6, 3), np.uint8) for seed in range(2)]
MIDDLE = 10


def passing(speed: float, *, beside: float = 0.0, hidden: int = 1, back: bool = False) -> list[DetectedFrame]:
    """Two people who meet at the 10th grid point.

    Args:
        speed: widths of a face that each moves from one grid point to the next.
        beside: widths that one is lower than the other.
        hidden: grid points about the meeting at which the second is not found.
        back: they turn round where they meet.
    """
    frames = []
    rng = np.random.default_rng(1)
    for at in range(2 * MIDDLE + 1):
        away = speed * WIDTH * (at - MIDDLE)
        away = -abs(away) if back else away
        boxes = [(300 + away, 100.0), (300 - away, 100 + beside * WIDTH)]
        faces = []
        for person, (x, y) in enumerate(boxes):
            if person == 1 and abs(at - MIDDLE) <= hidden // 2 and hidden:
                continue
            box = Box(x, y, x + WIDTH, y + 1.3 * WIDTH)
            look = np.clip(LOOKS[person] + rng.normal(0, 8, LOOKS[person].shape), 0, 255).astype(np.uint8)
            faces.append(Detection(box, landmarks_in(box), 1.0, 1.0, f"{at}:{person}", look))
        frames.append(DetectedFrame(at, tuple(sorted(faces, key=lambda face: face.box))))
    return frames


def people_of(track: Track) -> set[str]:
    return {face.identifier.split(":")[1] for face in track.detections if face.identifier}


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("hidden", [0, 1, 3])
@pytest.mark.parametrize("beside", [0.0, 0.3])
@pytest.mark.parametrize("speed", [0.1, 0.2, 0.45, 0.6, 0.9])
def test_who_passes_another_is_never_taken_for_the_other(speed: float, beside: float, hidden: int, back: bool) -> None:
    tracks = link_tracks(passing(speed, beside=beside, hidden=hidden, back=back), NO_CUTS, NO_TILES)
    assert all(len(people_of(track)) == 1 for track in tracks)


def test_two_who_pass_slowly_and_are_both_seen_keep_one_track_each() -> None:
    tracks = link_tracks(passing(0.3, beside=0.4, hidden=0), NO_CUTS, NO_TILES)
    assert [len(track.detections) for track in tracks] == [2 * MIDDLE + 1] * 2
