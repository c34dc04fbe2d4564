from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from actors.identity import EMBEDDING_LENGTH, IdentityMeter, cosine
from tests.flows.evaluation.conftest import LANDMARKS, embedding_file
from weights import WeightsError

POINTS = np.array(LANDMARKS)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> IdentityMeter:
    return IdentityMeter(embedding_file(tmp_path_factory.mktemp("identity") / "small.onnx"))


def test_an_embedding_has_length_one_and_a_face_is_most_like_itself(identity: IdentityMeter) -> None:
    face = astronaut()
    vector = identity.embed(face, POINTS)
    assert vector.shape == (EMBEDDING_LENGTH,)
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert identity.similarity(face, face, POINTS) == pytest.approx(1)
    darkened = face.copy()
    darkened[100:130] = 0
    assert identity.similarity(face, darkened, POINTS) < 0.999


def test_a_face_is_aligned_wherever_it_is(identity: IdentityMeter) -> None:
    face = astronaut()
    turned = cv2.getRotationMatrix2D((220, 130), 25, 0.9)
    moved = np.asarray(cv2.warpAffine(face, turned, (512, 512)), np.uint8)
    moved_points = POINTS @ turned[:, :2].T + turned[:, 2]
    aligned = cosine(identity.embed(face, POINTS), identity.embed(moved, moved_points))
    assert aligned > 0.99
    assert aligned > cosine(identity.embed(face, POINTS), identity.embed(moved, POINTS)) + 0.005


@pytest.mark.parametrize(
    ("image", "points", "told"),
    [
        (np.zeros((20, 20), np.uint8), POINTS, r"\(20, 20\) uint8"),
        (np.zeros((20, 20, 3), np.float32), POINTS, "float32"),
        (np.zeros((20, 20, 3), np.uint8), POINTS[:4], r"\(4, 2\)"),
    ],
)
def test_wrong_shapes_are_named(identity: IdentityMeter, image: np.ndarray, points: np.ndarray, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        identity.embed(image, points)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match=f"{path}: OpenCV cannot read it") as refused:
        IdentityMeter(path)
    assert "\n" not in " ".join(str(refused.value).split())
