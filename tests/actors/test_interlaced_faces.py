"""Faces in interlaced video, through all stages: each field gets its own, and deinterlaced frames have no comb."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import ffmpeg
import numpy as np
import pytest

from actors.detection import DetectionSettings
from actors.expert_restorer import ExpertRestorer
from actors.face_detector import FaceDetector
from actors.frame_compositor import FrameCompositor
from actors.routing import Decision, RoutingBounds
from actors.work import from_table, to_table
from flows.demo import make_clip
from storage.encoding import EncodeSettings, SizeSettings
from storage.manifest import stitched_faces
from storage.receipts import WorkArea
from storage.shards import Shard
from storage.store import Store
from tests.media import whole
from tests.zoo.specimen import write

EXPERTS = frozenset((Decision.EXPERT_F, Decision.EXPERT_T))
MOMENTS = 8
LOSSLESS = EncodeSettings(crf=0, preset="ultrafast")


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    """Four interlaced frames of eight moments, in which the picture moves by 9 pixels from field to field."""
    folder = tmp_path_factory.mktemp("fields")
    make_clip(folder / "moments.mp4", frames=MOMENTS)
    moving = ffmpeg.input(str(folder / "moments.mp4")).video.filter("scroll", horizontal=0.014)
    fields = moving.filter("tinterlace", mode="interleave_top")
    options = {"vcodec": "libx264", "flags": "+ildct+ilme", "crf": 12, "preset": "fast", "x264-params": "tff=1"}
    write(folder / "a.mp4", [fields], **options)
    return whole(folder / "a.mp4")


@dataclass
class Restored:
    """Luma of every frame, (H, W) uint8, and the rectangles that faces were blended into."""

    lumas: list[np.ndarray]
    baseline: list[np.ndarray]
    rects: dict[int, list[tuple[int, int, int, int]]]
    interlaced: list[bool]


def restored(shard: Shard, folder: Path, size: SizeSettings) -> Restored:
    store, area = Store(), WorkArea(str(folder))
    detector = FaceDetector(store, DetectionSettings(detect_every=2, min_face=48), RoutingBounds(), size, EXPERTS)
    experts = [ExpertRestorer(expert, size) for expert in sorted(EXPERTS)]
    compositor = FrameCompositor(store, area, size, LOSSLESS, ("restored", "baseline"), "poisson")
    parts: list[Any] = []
    for found in detector.detect(shard):
        (work,) = from_table(to_table([found]))
        for expert in experts:
            work = expert.restore(work)
        parts.append((work, compositor.composite(work)))
    ((work, receipt),) = parts
    frames = _decoded(area.segment(work.shard, "restored", receipt.sha256["restored"]))
    parts_of_faces = stitched_faces([Path(area.faces(work.shard, receipt.faces_sha256)).read_bytes()])
    faces = [row for table in parts_of_faces for row in table.to_pylist()]
    rects: dict[int, list[tuple[int, int, int, int]]] = {}
    for face in faces:
        if face["expert"]:
            sides = tuple(face[f"altered_{side}"] for side in ("x0", "y0", "x1", "y1"))
            rects.setdefault(face["pts"], []).append(sides)
    by_number = {number: rects[frame.pts] for number, frame in enumerate(frames) if frame.pts in rects}
    return Restored(
        [_luma(frame) for frame in frames],
        [_luma(frame) for frame in _decoded(area.segment(work.shard, "baseline", receipt.sha256["baseline"]))],
        by_number,
        [frame.interlaced_frame for frame in frames],
    )


def _decoded(path: str) -> list[av.VideoFrame]:
    with av.open(path) as container:
        return list(container.decode(video=0))


def _luma(frame: av.VideoFrame) -> np.ndarray:
    return frame.to_ndarray()[: frame.height].astype(int)


def comb(luma: np.ndarray) -> float:
    """How far rows differ from the mean of their neighbours, on average."""
    return float(np.abs(luma[1:-1] - (luma[:-2] + luma[2:]) / 2).mean())


def test_each_field_has_its_own_faces(shard: Shard, tmp_path: Path) -> None:
    result = restored(shard, tmp_path, SizeSettings(scale=2))
    assert shard.probe.tags.field_order == "top first"
    assert len(result.lumas) == MOMENTS // 2
    assert all(result.interlaced)
    assert len(result.rects) == len(result.lumas)
    for number, rects in result.rects.items():
        after, before = result.lumas[number], result.baseline[number]
        assert len(rects) == 2
        for x0, y0, x1, y1 in rects:
            y0 += y0 % 2
            face = after[y0:y1, x0:x1]
            woven, first, second = comb(face), comb(face[0::2]), comb(face[1::2])
            assert max(first, second) < 0.6 * woven  # the moments differ, and neither has the other in it
            for parity in (0, 1):
                changed = np.abs(face[parity::2] - before[y0:y1, x0:x1][parity::2])
                assert changed.mean() > 0.5


def test_without_fields_faces_have_no_comb(shard: Shard, tmp_path: Path) -> None:
    kept = restored(shard, tmp_path / "kept", SizeSettings(scale=2))
    whole_frames = restored(shard, tmp_path / "whole", SizeSettings(scale=2, deinterlace=True))
    assert not any(whole_frames.interlaced)
    assert len(whole_frames.lumas) == len(kept.lumas)
    assert len(whole_frames.rects) == len(whole_frames.lumas) == MOMENTS // 2
    for number, rects in whole_frames.rects.items():
        for x0, y0, x1, y1 in rects:
            face, woven = (luma[number][y0:y1, x0:x1] for luma in (whole_frames.lumas, kept.lumas))
            assert comb(face) < 0.5 * comb(woven)
