"""The stages one after the other, without Ray: what the shards are cut like shows nowhere, and only faces change.

Segments are encoded losslessly here, so decoding them gives the very pixels that the encoder was handed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from actors import identity_gate
from actors.colour import plane_views
from actors.detection import DetectionSettings
from actors.expert_restorer import ExpertRestorer
from actors.face_detector import FaceDetector
from actors.frame_compositor import FrameCompositor
from actors.routing import Decision, RoutingBounds
from actors.work import ShardWork, from_table, to_table
from flows.demo import make_clip
from storage.catalogue import find_sources
from storage.encoding import EncodeSettings, SizeSettings
from storage.errors import MediaError
from storage.manifest import stitched_faces
from storage.probe import probe_video
from storage.receipts import Receipt, Variant, WorkArea
from storage.shards import PtsRange, Shard
from storage.store import Store
from tests.flows.evaluation.conftest import embedding_file

FRAMES = 14
TICKS = 512  # of one frame: 25 frames a second in a time base of 1/12800
LOSSLESS = EncodeSettings(crf=0, preset="ultrafast")
EXPERTS = frozenset((Decision.EXPERT_F, Decision.EXPERT_T))
SIZE = SizeSettings()
STRICT = 1e-5
"""The drop of similarity, as a small network sees it, that some of the clip's restored faces exceed."""
STAGED: tuple[Variant, ...] = ("restored", "baseline")


@dataclass
class Stages:
    """The four stages over one work area."""

    area: WorkArea
    detector: FaceDetector
    experts: tuple[ExpertRestorer, ...]
    compositor: FrameCompositor

    @classmethod
    def over(cls, folder: Path) -> "Stages":
        store, area = Store(), WorkArea(str(folder))
        identity = embedding_file(folder / "small.onnx").read_bytes
        detection = DetectionSettings(detect_every=3, min_face=48)
        return cls(
            area,
            FaceDetector(store, detection, RoutingBounds(), SIZE, EXPERTS, identity),
            tuple(ExpertRestorer(expert, SIZE, identity=identity) for expert in sorted(EXPERTS)),
            FrameCompositor(store, area, SIZE, LOSSLESS, STAGED),
        )

    def segment(self, work: ShardWork, receipt: Receipt, variant: Variant) -> Path:
        return Path(self.area.segment(work.shard, variant, receipt.sha256[variant]))

    def run(self, shard: Shard) -> list[tuple[ShardWork, Receipt]]:
        """Each part of a shard through all stages, by way of the table that Ray Data would carry."""
        done = []
        for found in self.detector.detect(shard):
            (work,) = from_table(to_table([found]))
            for expert in self.experts:
                work = expert.restore(work)
            done.append((work, self.compositor.composite(work)))
        return done


@dataclass
class Result:
    """A whole video, put together from its segments."""

    restored: list[list[np.ndarray]]
    baseline: list[list[np.ndarray]]
    faces: list[dict[str, Any]]


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    path = tmp_path_factory.mktemp("clip") / "face.mp4"
    make_clip(path, frames=FRAMES)
    (source,) = find_sources([str(path)], Store())
    probe = probe_video(source.url, Store())
    assert probe.time_base == Fraction(1, 12800)
    return Shard(source, probe, PtsRange(None, None))


def cut(shard: Shard, folder: Path, *frames: int) -> Result:
    """The video restored in shards that begin at these frames."""
    stages = Stages.over(folder)
    edges = [None, *(number * TICKS for number in frames), None]
    result = Result([], [], [])
    parts = []
    for start, end in pairwise(edges):
        for work, receipt in stages.run(shard.part(start, end)):
            result.restored += decoded(stages.segment(work, receipt, "restored"))
            result.baseline += decoded(stages.segment(work, receipt, "baseline"))
            parts.append(Path(stages.area.faces(work.shard, receipt.faces_sha256)).read_bytes())
    result.faces = [row for table in stitched_faces(parts) for row in table.to_pylist()]
    return result


def decoded(path: Path) -> list[list[np.ndarray]]:
    with av.open(str(path)) as container:
        return [[plane.copy() for plane in plane_views(frame)] for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def whole(shard: Shard, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return cut(shard, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module", autouse=True)
def strict_gate() -> Iterator[None]:
    """The gate weakens some of the faces, so that it shows nowhere what shard they are judged in."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(identity_gate, "ALLOWED_DROPS", ((50.0, STRICT),))
        yield


def test_shards_do_not_show(shard: Shard, whole: Result, tmp_path: Path) -> None:
    in_three = cut(shard, tmp_path, 4, 9)
    assert len(whole.restored) == FRAMES
    for number, (once, cut_up) in enumerate(zip(whole.restored, in_three.restored, strict=True)):
        for plane_once, plane_cut_up in zip(once, cut_up, strict=True):
            np.testing.assert_array_equal(plane_once, plane_cut_up, err_msg=f"frame {number}")
    assert in_three.faces == whole.faces
    assert len({face["strength"] for face in whole.faces if face["expert"]}) > 2, "the gate weakens some, not others"


def test_only_faces_change(whole: Result) -> None:
    changed = 0
    for number, (before, after) in enumerate(zip(whole.baseline, whole.restored, strict=True)):
        rects = [
            [face[f"altered_{side}"] for side in ("x0", "y0", "x1", "y1")]
            for face in whole.faces
            if face["pts"] == number * TICKS and face["expert"]
        ]
        assert rects
        for step, plane_before, plane_after in zip((1, 2, 2), before, after, strict=True):
            altered = np.zeros(plane_before.shape, bool)
            for x0, y0, x1, y1 in rects:
                altered[y0 // step : -(-y1 // step), x0 // step : -(-x1 // step)] = True
            np.testing.assert_array_equal(plane_before[~altered], plane_after[~altered])
            changed += int((plane_before[altered] != plane_after[altered]).sum())
    assert changed > 100_000


def test_every_frame_is_told_of_with_its_faces(whole: Result) -> None:
    by_track: dict[int, list[int]] = {}
    for face in whole.faces:
        by_track.setdefault(face["track"], []).append(face["pts"])
    assert list(by_track.values()) == [[number * TICKS for number in range(FRAMES)]] * 2
    searched = {face["pts"] // TICKS for face in whole.faces if face["observed"]}
    assert searched == set(range(0, FRAMES, 3))


def test_without_experts_the_result_is_the_baseline(shard: Shard, tmp_path: Path) -> None:
    stages = Stages.over(tmp_path)
    detector = FaceDetector(Store(), DetectionSettings(detect_every=7, min_face=48), RoutingBounds(), SIZE, frozenset())
    ((work, receipt),) = replace(stages, detector=detector, experts=()).run(shard.part(None, 4 * TICKS))
    assert work.crops == {}
    assert receipt.restored == 0
    assert receipt.frames == 4
    rows = pq.read_table(stages.area.faces(work.shard, receipt.faces_sha256)).to_pylist()
    assert {row["decision"] for row in rows} == {"expert_t", "expert_f"}
    assert {row["expert"] for row in rows} == {None}
    assert all("switched off" in row["reason"] for row in rows)
    restored, baseline = (decoded(stages.segment(work, receipt, name)) for name in STAGED)
    for after, before in zip(restored, baseline, strict=True):
        for plane_after, plane_before in zip(after, before, strict=True):
            np.testing.assert_array_equal(plane_after, plane_before)


def test_a_crowded_shard_is_cut_into_parts_that_tile_it(
    shard: Shard, whole: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.face_detector.MAX_PATCH_BYTES", 2_000_000)
    detector = Stages.over(tmp_path).detector
    parts = list(detector.detect(shard))
    assert len(parts) > 2
    edges = [(part.shard.range.start, part.shard.range.end) for part in parts]
    assert edges[0][0] is None
    assert edges[-1][1] is None
    assert [end for _, end in edges[:-1]] == [start for start, _ in edges[1:]]
    assert sum(part.frames for part in parts) == FRAMES
    assert [face.pts for part in parts for face in part.faces] == [face["pts"] for face in whole.faces]


def test_frames_that_differ_between_the_two_readings_are_refused(shard: Shard, tmp_path: Path) -> None:
    stages = Stages.over(tmp_path)
    work = ShardWork(shard.part(None, 3 * TICKS), frames=4, digest="of other frames")
    with pytest.raises(MediaError, match="not read alike from two places"):
        stages.compositor.composite(work)
    assert list(tmp_path.iterdir()) == [] or not list(tmp_path.rglob("*.mp4"))


def test_a_shard_that_fails_becomes_a_receipt_with_the_reason(shard: Shard, tmp_path: Path) -> None:
    stages = Stages.over(tmp_path)
    gone = replace(shard, source=replace(shard.source, url=str(tmp_path / "gone.mp4")))
    (table,) = stages.detector(to_table([ShardWork(gone)]))
    for expert in stages.experts:
        (table,) = expert(table)
    (receipts,) = stages.compositor(table)
    receipt = Receipt.from_json(receipts["receipt"][0].as_py())
    assert "gone.mp4" in receipt.error
    assert receipt.frames == 0


def test_parts_of_a_crowded_shard_do_not_show(
    shard: Shard, whole: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.face_detector.MAX_PATCH_BYTES", 2_000_000)
    in_parts = cut(shard, tmp_path)
    for number, (once, cut_up) in enumerate(zip(whole.restored, in_parts.restored, strict=True)):
        for plane_once, plane_cut_up in zip(once, cut_up, strict=True):
            np.testing.assert_array_equal(plane_once, plane_cut_up, err_msg=f"frame {number}")
    assert in_parts.faces == whole.faces
