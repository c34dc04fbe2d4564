"""A restored face shows as much as it is still its person, and no pattern shows at all."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from actors import identity_gate
from actors.expert_restorer import ExpertRestorer
from actors.identity import Embedding, IdentityMeter
from actors.identity_gate import STEPS, IdentityGate, Verdict, allowed_drop, fine_detail, gated_strength
from actors.routing import Decision
from actors.tracking import LOOKS_AHEAD, LOOKS_BACK
from actors.work import ShardWork, Witness
from storage.encoding import SizeSettings
from tests.actors.test_expert_restorer import CROP, Recorder, work_of
from tests.flows.evaluation.conftest import LANDMARKS, embedding_file

WIDTH, SHARPNESS = 25.0, 60.0
CORNER = (170, 70)  # of the face in the picture
PATCH = np.ascontiguousarray(astronaut()[70:190, 170:290])
CROP_RGB = np.asarray(cv2.resize(PATCH, (30, 30), interpolation=cv2.INTER_AREA), np.uint8)
PLACES = tuple(((x + 0.5 - CORNER[0]) / 4, (y + 0.5 - CORNER[1]) / 4) for x, y in LANDMARKS)


@pytest.fixture(scope="module")
def meter(tmp_path_factory: pytest.TempPathFactory) -> IdentityMeter:
    return IdentityMeter(embedding_file(tmp_path_factory.mktemp("gate") / "small.onnx"))


def verdict_on(meter: IdentityMeter, patch_rgb: NDArray[np.uint8]) -> Verdict:
    own = meter.embed_face(CROP_RGB, PLACES, WIDTH)
    return IdentityGate(meter).judge(CROP_RGB, patch_rgb, PLACES, WIDTH, SHARPNESS, own)


def test_a_face_that_is_still_its_person_shows_in_full(meter: IdentityMeter) -> None:
    verdict = verdict_on(meter, PATCH)
    assert (verdict.strength, verdict.reason) == (1.0, "")
    assert verdict.similarity > 1 - allowed_drop(WIDTH, SHARPNESS)
    assert verdict.source_similarity == pytest.approx(1)


def test_wide_and_sharp_faces_may_change_least() -> None:
    assert allowed_drop(50, 10) == allowed_drop(20, 20) == pytest.approx(1.15 * 0.19)
    assert allowed_drop(50, 60) == pytest.approx(0.19)
    assert allowed_drop(90, 60) == pytest.approx(0.11)
    assert allowed_drop(50, 320) == pytest.approx(0.85 * 0.19)
    assert allowed_drop(200, 5000) == pytest.approx(0.3 * 0.08)
    assert allowed_drop(50, 10) > allowed_drop(50, 60) > allowed_drop(50, 2000) > 0
    assert allowed_drop(50, 60) > allowed_drop(90, 60) > allowed_drop(125, 60) == allowed_drop(200, 60)
    middle = (allowed_drop(80, 60) + allowed_drop(100, 60)) / 2
    assert allowed_drop(90, 60) == pytest.approx(middle)


def test_another_face_is_weakened_by_steps_and_every_step_is_told(
    meter: IdentityMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_gate, "ALLOWED_DROPS", ((50.0, 0.05),))  # this small network sees mostly brightness
    other = np.ascontiguousarray(255 - PATCH[::-1])
    verdict = verdict_on(meter, other)
    assert verdict.strength < 1
    tried = STEPS[: STEPS.index(verdict.strength)] if verdict.strength else STEPS
    assert [part.rsplit(" ", 1)[1] for part in verdict.reason.split("; ")] == [f"{step:g}" for step in tried]
    assert verdict.reason.startswith(
        f"identity {verdict.similarity:.3f} < {1 - allowed_drop(WIDTH, SHARPNESS):.3f} at strength 1"
    )


class Fading:
    """A meter that finds a face the less like its source the more of the restored one shows, in proportion."""

    def __init__(self, drop: float) -> None:
        self._drop = drop

    def embed_face(self, image_rgb: NDArray[np.uint8], landmarks: object, width: float) -> Embedding:
        similarity = 1 - self._drop * float(image_rgb.mean()) / 200
        return np.array([similarity, np.sqrt(1 - similarity**2)], np.float32)


@pytest.mark.parametrize(("drop", "strength"), [(0.95, 1.0), (1.05, 0.0)])
def test_a_share_of_a_face_may_be_farther_off_by_that_share(drop: float, strength: float) -> None:
    gate = IdentityGate(Fading(drop * allowed_drop(WIDTH, SHARPNESS)))  # type: ignore[arg-type]
    black, bright = np.zeros_like(CROP_RGB), np.full_like(PATCH, 200)
    verdict = gate.judge(black, bright, PLACES, WIDTH, SHARPNESS, np.array([1, 0], np.float32))
    assert verdict.strength == strength


def test_a_pattern_is_weakened_though_the_person_is_the_same(meter: IdentityMeter) -> None:
    rows, columns = np.indices(PATCH.shape[:2])
    pattern = np.where((rows + columns) % 2, 25, -25)[..., None]
    covered = np.clip(PATCH.astype(int) + pattern, 0, 255).astype(np.uint8)
    assert fine_detail(PATCH) < 1 < 1.4 < fine_detail(covered)
    verdict = verdict_on(meter, covered)
    assert verdict.similarity > 1 - allowed_drop(WIDTH, SHARPNESS)
    assert verdict.strength < 1
    assert "fine detail" in verdict.reason


def verdict(strength: float, similarity: float = 1.0) -> Verdict:
    return Verdict(strength, similarity, similarity + 0.1, "" if strength == 1 else f"why {strength:g}")


def strength_at(pts: int, weak: int, *, points: range = range(10), missing: int | None = None) -> float:
    """Of a frame, where the track has grid points ten ticks apart and one of them a weak witness."""
    own = max(points.start, min(pts // 10, points.stop - 1))
    along = (pts - 10 * own) / 10 if pts >= 10 * own and own + 1 in points else 0.0
    about = range(own - LOOKS_BACK, own + LOOKS_AHEAD + 1)
    known = [verdict(0.5 if k == weak else 1.0) if k in points and k != missing else None for k in about]
    return gated_strength(along, known)[0]


@pytest.mark.parametrize("missing", [None, 3, 6])
def test_a_weak_witness_counts_for_its_neighbours_and_strength_is_linear_in_between(missing: int | None) -> None:
    """Also where there is no witness at a grid point in between."""
    at_grid_points = [strength_at(10 * k, weak=5, missing=missing) for k in range(10)]
    assert at_grid_points == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 1]
    assert [strength_at(pts, weak=5, missing=missing) for pts in (25, 75)] == [0.75, 0.75]
    assert all(strength_at(pts, weak=5, missing=missing) == 0.5 for pts in range(30, 71))
    assert strength_at(29, weak=5, missing=missing) == pytest.approx(0.55)


def test_at_a_tracks_ends_strength_is_held() -> None:
    assert [strength_at(pts, weak=0) for pts in (-5, 0, 5, 20)] == [0.5] * 4
    assert [strength_at(pts, weak=3) for pts in (-5, 0, 5)] == [1, 1, 0.75]  # before its first grid point as there
    assert [strength_at(pts, weak=9) for pts in (70, 95)] == [0.5] * 2
    assert strength_at(4, weak=0, points=range(1)) == 0.5
    lonely = [verdict(0.5), *[None] * (LOOKS_BACK + LOOKS_AHEAD)]
    assert gated_strength(0.9, lonely) == (0.5, "why 0.5")
    assert gated_strength(0.9, [None] * (LOOKS_BACK + 1 + LOOKS_AHEAD)) == (1.0, "")


def test_the_reason_is_that_of_a_witness_that_counts() -> None:
    looked = [verdict(0.5), *(verdict(1.0) for _ in range(LOOKS_BACK + LOOKS_AHEAD - 1)), verdict(0.25)]
    assert gated_strength(0.0, looked) == (0.5, "why 0.5")
    assert gated_strength(0.5, looked) == (0.375, "why 0.25")


def test_witnesses_of_another_window_are_refused() -> None:
    with pytest.raises(ValueError, match="3 witnesses"):
        gated_strength(0, [None] * 3)


def test_a_face_tells_of_its_nearest_witness_and_shows_what_the_weakest_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restorer = ExpertRestorer(Decision.EXPERT_T, SizeSettings(scale=4))
    restorer._expert = Recorder()  # type: ignore[assignment]
    restorer._gate = IdentityGate(Strict())  # type: ignore[arg-type]
    work = with_witness(work_of(0, (11, 40)))
    (face,), (witness,) = work.faces, work.witnesses
    for places, told in (((0, -1, 1, 2, -1, -1), 0.5), ((0, 1, -1, 2, -1, -1), 0.5), ((0, -1, -1, 1, -1, 2), 0.5)):
        verdicts = iter((verdict(0.25, 0.1), verdict(1.0, 0.5), verdict(0.5, 0.9)))
        monkeypatch.setattr(IdentityGate, "judge", lambda *_, verdicts=verdicts: next(verdicts))
        several = replace(work, faces=(replace(face, witnesses=places),), witnesses=(witness,) * 3)
        (gated,) = restorer.restore(several).faces
        assert (gated.identity, gated.source_identity) == (told, told + 0.1)
        assert gated.strength == 0.25 * face.strength
        assert gated.reason == "because; why 0.25"


class Strict:
    """A gate's meter to which no restored face is like its person."""

    def embed_face(self, image_rgb: NDArray[np.uint8], landmarks: object, width: float) -> Embedding:
        unrestored = image_rgb.shape[:2] == (CROP.height, CROP.width)
        return np.array([0.9, 0.19**0.5] if unrestored else [0, 1], np.float32)


def test_a_face_that_may_not_show_loses_its_pixels_and_says_why() -> None:
    restorer = ExpertRestorer(Decision.EXPERT_T, SizeSettings(scale=4))
    restorer._expert = Recorder()  # type: ignore[assignment]
    restorer._gate = IdentityGate(Strict())  # type: ignore[arg-type]
    work = with_witness(work_of(0, (11, 40)))
    (face,) = (done := restorer.restore(work)).faces
    assert (face.strength, face.crop_indices, done.crops) == (0.0, (), {})
    assert (face.identity, face.source_identity) == (0.0, pytest.approx(0.9))
    assert face.reason.startswith("because; identity 0.000 <")


def test_a_row_without_witnesses_is_as_it_was() -> None:
    restorer = ExpertRestorer(Decision.EXPERT_T, SizeSettings(scale=4))
    restorer._expert = Recorder()  # type: ignore[assignment]
    work = work_of(0, (11, 40))
    assert restorer.restore(work).faces == work.faces


def with_witness(work: ShardWork) -> ShardWork:
    (face,) = work.faces
    witness = Witness(
        pts=face.pts,
        decision=face.decision,
        width=face.width,
        sharpness=face.sharpness,
        crop=CROP,
        landmarks=face.landmarks,
        reference=(1.0, 0.0),
        crop_index=0,
    )
    own_alone = (*(-1,) * LOOKS_BACK, 0, *(-1,) * LOOKS_AHEAD)
    return replace(work, faces=(replace(face, witnesses=own_alone),), witnesses=(witness,))
