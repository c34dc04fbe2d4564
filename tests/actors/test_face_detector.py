"""What the detector says of faces, with MTCNN itself: the same in every shard, and nothing reaches across a cut."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from skimage import data

from actors.detection import DetectionSettings
from actors.face_detector import FaceDetector
from actors.routing import Decision, RoutingBounds
from storage.encoding import SizeSettings
from storage.shards import Shard
from storage.store import Store
from tests.media import whole

FRAMES, CUT = 24, 13
TICKS = 512  # of one frame
SIZE = (160, 144)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    """A face 60 px wide that sways in one scene, and at the same place, mirrored, in the next."""
    path = tmp_path_factory.mktemp("clip") / "two scenes.mp4"
    portrait = np.asarray(data.astronaut())
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(FRAMES):
            matrix = cv2.getRotationMatrix2D((224, 116), 0, 0.68)
            matrix[:, 2] += np.array(SIZE) / 2 - (224, 116) + (4 * np.sin(number / 3), 0)
            picture = cv2.warpAffine(portrait, matrix, SIZE, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
            if number >= CUT:
                picture = np.ascontiguousarray(picture[:, ::-1])
            container.mux(stream.encode(VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return whole(path)


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    experts = frozenset((Decision.EXPERT_F, Decision.EXPERT_T))
    detection = DetectionSettings(detect_every=3, min_face=40)
    return FaceDetector(Store(), detection, RoutingBounds(), SizeSettings(), experts)


def told(detector: FaceDetector, *shards: Shard) -> list[tuple[Any, ...]]:
    """All that is said of every face, but for what numbers its track inside a shard."""
    return [
        (
            face.pts // TICKS,
            face.box,
            face.landmarks,
            face.sharpness,
            face.tier,
            face.decision,
            face.strength,
            face.crop,
            *(work.crops[index].tobytes() for index in face.crop_indices),
        )
        for shard in shards
        for work in detector.detect(shard)
        for face in work.faces
    ]


def test_shards_say_what_the_whole_video_says_and_a_cut_ends_a_track(detector: FaceDetector, shard: Shard) -> None:
    (work,) = detector.detect(shard)
    of_track: dict[int, list[int]] = {}
    for face in work.faces:
        of_track.setdefault(face.track, []).append(face.pts // TICKS)
    assert list(of_track.values()) == [list(range(CUT)), list(range(CUT, FRAMES))]
    assert {face.strength for face in work.faces} == {1.0}
    edges = [None, 5 * TICKS, CUT * TICKS, 17 * TICKS, None]
    pieces = [shard.part(start, end) for start, end in pairwise(edges)]
    assert told(detector, *pieces) == told(detector, shard)
