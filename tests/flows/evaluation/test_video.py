"""Clips whose truth is known: what moves in them, and what is measured when something is wrong with a result."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from rich.console import Console

from actors.geometry import Box
from actors.routing import RoutingBounds
from flows.evaluation.samples import Image
from flows.evaluation.subjects import Subject
from flows.evaluation.video.measures import (
    changes,
    flow_flicker,
    followed,
    jitter,
    known_flicker,
    luma,
    steady,
    switches,
)
from flows.evaluation.video.scenes import BREATHE, MOTIONS, SCALE, Motion, Scene, meeting, scene_of_one
from flows.evaluation.video.tables import kinds_of, summaries, table_of
from flows.evaluation.video.trial import ClipPlan, FaceReport, Likeness, scenes

FRAMES = 6


@pytest.fixture(scope="module")
def subject(subjects: list[Subject]) -> Subject:
    return subjects[0]


def scene_of(subject: Subject, motion: Motion) -> Scene:
    return scene_of_one(subject, 50, motion, "clean", frames=FRAMES, seed=0)


def rows_of(scene: Scene, *, track: int = 0, shake: float = 0.0) -> list[dict[str, Any]]:
    """The faces table of a detector that sees a face where it is, but for some shaking."""
    rows = []
    for number in range(scene.frames):
        box = scene.actors[0].box(number, scene.frames)
        off = shake * (-1) ** number
        edges = {"x0": box.x0 + off, "y0": box.y0, "x1": box.x1 + off, "y1": box.y1}
        rows.append({"pts": 10 * number, "track": track, "expert": "expert_t", "strength": 1.0, **edges})
    return rows


PTS = [10 * number for number in range(FRAMES)]


def test_a_face_is_where_the_scene_says(subject: Subject) -> None:
    scene = scene_of(subject, "pass")
    first, last = (scene.truths()[number] for number in (0, FRAMES - 1))
    shift = SCALE * (scene.actors[0].box(FRAMES - 1, FRAMES).x0 - scene.actors[0].box(0, FRAMES).x0)
    box = scene.actors[0].box(0, FRAMES)
    rows = slice(round(SCALE * box.y0), round(SCALE * box.y1))
    x0, x1 = round(SCALE * box.x0), round(SCALE * box.x1)
    moved = cv2.warpAffine(last, np.float32([[1, 0, -shift], [0, 1, 0]]), last.shape[1::-1], flags=cv2.INTER_CUBIC)
    same = np.abs(moved[rows, x0:x1].astype(int) - first[rows, x0:x1]).mean()
    assert same < 0.3 * np.abs(last[rows, x0:x1].astype(int) - first[rows, x0:x1]).mean()


@pytest.mark.parametrize("motion", ["still", "sway", "nearer"])
def test_what_moves_as_it_should_does_not_flicker_and_what_trembles_does(subject: Subject, motion: Motion) -> None:
    scene = scene_of(subject, motion)
    truths = [luma(frame) for frame in scene.truths()]
    calm = known_flicker(truths, scene, 0)
    brighter = [frame + 6 * (number % 2) for number, frame in enumerate(truths)]
    assert calm.shape == (FRAMES - 1,)
    assert calm.max() < 1.5
    assert np.allclose(known_flicker(brighter, scene, 0), 6, atol=1.5)


def test_jitter_and_switches_are_of_the_track_that_has_the_face(subject: Subject) -> None:
    scene = scene_of(subject, "sway")
    calm = followed(rows_of(scene), PTS, scene, 0)
    assert [number for number, _ in calm] == list(range(FRAMES))
    assert max(jitter(calm, scene, 0)) < 1e-9
    across, down, width = jitter(followed(rows_of(scene, shake=0.5), PTS, scene, 0), scene, 0)
    assert (across, down) == (pytest.approx(0.5), pytest.approx(0))
    assert width == pytest.approx(0, abs=1e-9)
    mixed = rows_of(scene)[:3] + rows_of(scene, track=1)[3:]
    assert switches(followed(mixed, PTS, scene, 0)) == 1
    assert steady(followed(mixed, PTS, scene, 0)) == [0, 1, 3, 4]
    routed = [face | {"decision": "skip" if number == 2 else "expert_t"} for number, face in enumerate(rows_of(scene))]
    assert changes(followed(routed, PTS, scene, 0)) == 2


def test_frames_in_which_a_face_fades_or_is_missed_are_no_flicker(subject: Subject) -> None:
    scene = scene_of(subject, "still")
    rows = rows_of(scene)
    rows[0]["strength"] = 0.5
    del rows[3]
    assert steady(followed(rows, PTS, scene, 0)) == [1, 4]


def test_flow_undoes_the_motion_of_real_clips(subject: Subject) -> None:
    scene = replace(scene_of(subject, "pass"), strength="clean")
    frames = list(zip(PTS, scene.truths(), strict=True))
    rows = rows_of(scene)
    trembling = [(pts, brighter(frame, 8 * (number % 2))) for number, (pts, frame) in enumerate(frames)]
    found = list(flow_flicker(iter(frames), iter(trembling), rows, SCALE))
    assert len(found) == FRAMES - 1
    assert all(pair.motion == pytest.approx(0.5, abs=0.15) for pair in found)  # 1 % of 50 px a frame
    assert all(pair.restored - pair.source > 4 for pair in found)


def brighter(frame: Image, by: int) -> Image:
    return np.asarray(np.clip(frame.astype(int) + by, 0, 255), np.uint8)


def test_a_clip_is_written_whole_and_a_meeting_keeps_to_its_tiles(subjects: list[Subject], tmp_path: Path) -> None:
    scene = meeting(subjects, 40, "hard", 2, frames=3, seed=1)
    truths = scene.truths()
    scene.write(truths, path := tmp_path / "clip.mp4")
    with av.open(str(path)) as clip:
        sizes = [(frame.width, frame.height) for frame in clip.decode(video=0)]
    assert sizes == [scene.size] * 3
    width, height = (SCALE * side for side in scene.size)
    assert truths[0][height // 2, :].max() == truths[0][:, width // 2].max() == 0  # the lines between
    for place, actor in enumerate(scene.actors):
        box = actor.box(0, 3)
        row, column = divmod(place, 2)
        assert column * scene.size[0] / 2 <= box.x0 < box.x1 <= (column + 1) * scene.size[0] / 2
        assert row * scene.size[1] / 2 <= box.y0 < box.y1 <= (row + 1) * scene.size[1] / 2


def test_narrow_portraits_make_no_clip(subjects: list[Subject]) -> None:
    assert scenes([], ClipPlan()) == []
    assert scenes(subjects, ClipPlan(widths=(400,), clips=3)) == []
    made = scenes(subjects, ClipPlan(widths=(400, 50), clips=5, frames=3))
    assert [scene.actors[0].width for scene in made] == [50] * 5


def test_as_many_clips_are_made_as_are_asked_for_and_no_two_are_the_same(subjects: list[Subject]) -> None:
    plan = ClipPlan(widths=(40, 50), strengths=("hard", "medium"), clips=19, frames=3)
    made = scenes(subjects, plan)
    assert [len(scene.actors) for scene in made] == [1] * 19
    assert len({(scene.name, scene.seed) for scene in made}) == 19
    assert {scene.strength for scene in made} == {"hard", "medium"}
    assert {scene.actors[0].subject.name for scene in made} == {subject.name for subject in subjects}
    assert {(scene.actors[0].width, scene.actors[0].motion) for scene in made} == set(product((40, 50), MOTIONS))
    assert scenes(subjects, replace(plan, clips=0)) == []
    assert scenes(subjects, replace(plan, clips=None))[:8] == made[:8]


def test_the_usual_clips_have_faces_about_the_bounds_that_cross_them_again_and_again(subjects: list[Subject]) -> None:
    at_bounds = [scene for scene in scenes(subjects, ClipPlan(frames=30)) if scene.actors[0].motion == BREATHE]
    bounds = RoutingBounds.model_validate({})
    for bound in (bounds.w_skip, bounds.w_medium):
        about = [scene for scene in at_bounds if abs(scene.actors[0].width / bound - 1) < 0.05]
        assert about
        for scene in about:
            widths = [scene.actors[0].box(number, scene.frames).width for number in range(scene.frames)]
            assert np.abs(np.diff((np.array(widths) < bound).astype(int))).sum() >= 2


def report(**changes: Any) -> FaceReport:
    told = {
        "setting": "as shipped",
        "clip": "a",
        "width": 64,
        "static": True,
        "motion": "still",
        "flicker": 1.0,
        "of_source": 2.0,
    }
    told |= {
        "of_truth": 0.1,
        "jitter": 0.05,
        "switches": 0,
        "changes": 0,
        "missed": 0.0,
        "likeness": (Likeness(0.5, 0.6),),
    }
    return FaceReport(**{**told, **changes})


def test_summaries_add_up_and_name_the_worst() -> None:
    worse = report(flicker=3.0, jitter=0.2, switches=2, likeness=(Likeness(0.6, 0.5),))
    moving = report(static=False, motion="sway", width=80, flicker=None)
    at_bound = report(static=False, motion=BREATHE, width=80, changes=3)
    rows = summaries([report(), worse, moving, at_bound], kinds_of((64, 80)))
    static = rows[0]
    assert (static.kind, static.n, static.switches, static.worse) == ("static", 2, 2, 500)
    assert (static.flicker, static.flicker_most, static.jitter_most) == (1.0, 1.5, 0.2)
    assert [row.kind for row in rows] == ["static", "moving", "at bounds", "64 px", "80 px"]
    assert [row.n for row in rows] == [2, 1, 1, 2, 1]
    assert rows[1].flicker is None
    assert rows[2].changes == 3
    assert summaries([report(switches=None)], kinds_of())[0].switches is None
    written = Console(file=StringIO(), width=150)
    written.print(table_of("Clips", rows))
    assert "500.0" in written.file.getvalue()  # type: ignore[attr-defined]
    assert json.dumps(report().as_dict())


def test_a_box_is_read_from_a_row(subject: Subject) -> None:
    (row, *_) = rows_of(scene_of(subject, "still"))
    assert Box(row["x0"], row["y0"], row["x1"], row["y1"]).width == pytest.approx(50)
