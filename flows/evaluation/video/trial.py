"""Runs clips through the settings of the product, and adds up what is measured on them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count, cycle, islice, product
from pathlib import Path
from typing import Any

import numpy as np

from actors.identity import IdentityMeter
from actors.routing import RoutingBounds
from flows.evaluation.progress import EvaluationProgress
from flows.evaluation.samples import Image
from flows.evaluation.subjects import Subject
from flows.evaluation.video.measures import (
    STATIC_PX,
    FlowFlicker,
    Likeness,
    changes,
    flow_flicker,
    followed,
    jitter,
    known_flicker,
    likeness,
    luma,
    steady,
    switches,
)
from flows.evaluation.video.scenes import BREATHE, MOTIONS, SCALE, Motion, Scene, is_wide_enough, meeting, scene_of_one
from flows.evaluation.video.stages import Setting, Stages, frames_of
from flows.training.degradation import HARD, MEDIUM
from storage.encoding import SizeSettings

WIDTHS = (50, 64, 80, 100, 125)
STRENGTHS = (MEDIUM.name, HARD.name)
FRAMES = 50
LIKENESS_EVERY = 2
"""In every so many-th frame it is asked how like the person a face is."""

WORSE_BY = 0.05
"""A face counts as made worse when its cosine to the truth is so much lower than the source's."""
_MEETING_WIDTH = 64
_MEETING_SIDES = (2, 3)
_ABOUT_BOUNDS = (1.0, 1.04)
"""Widths of faces about a bound, over it: the detector's boxes are not quite those that are known."""

_BREATHS = 3
"""Times as long a clip of a face at a bound is: one crossing shows nothing."""
_SIZE = SizeSettings.model_validate({"scale": SCALE})


@dataclass(frozen=True)
class FaceReport:
    """One face of one clip under one setting.

    Attributes:
        setting, clip: names.
        width: of the face, px of the clip; None where it is not known.
        static: whether it does not move.
        motion: how it moves; None where that is not known.
        flicker, of_source, of_truth: mean grey levels from frame to frame after the motion is undone, of the result, of
            the enlarged source and of the truth (what undoing leaves; None where it is not known).
        jitter: the largest of the standard deviations of the box's centre x, y and width, px; None where its place is
            not known, or no track has it.
        switches: of tracks; None where it is not known whose face it is.
        changes: of what is done to it: left alone, or restored by which expert.
        missed: share of frames in which no track has it.
        likeness: at some frames.
        weakened: share of its frames in which the identity gate takes something of the restored face away.
    """

    setting: str
    clip: str
    width: int | None
    static: bool
    motion: Motion | None
    flicker: float | None
    of_source: float | None
    of_truth: float | None
    jitter: float | None
    switches: int | None
    changes: int
    missed: float
    likeness: tuple[Likeness, ...] = field(default=())
    weakened: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ClipPlan:
    """Which clips are made.

    Attributes:
        widths: of the faces, px.
        strengths: names of the degradations.
        clips: how many of one person, and nothing else; None for one of every width and motion, and besides two
            meetings and faces about the bounds, which are always the same.
        frames: of each.
        seed: of noise and backgrounds.
    """

    widths: Sequence[int] = WIDTHS
    strengths: Sequence[str] = STRENGTHS
    clips: int | None = None
    frames: int = FRAMES
    seed: int = 0


def scenes(subjects: Sequence[Subject], plan: ClipPlan) -> list[Scene]:
    """Clips of every width that a portrait is large enough for and every motion in turn; so do strengths and people."""
    widths = [width for width in plan.widths if any(is_wide_enough(subject, width) for subject in subjects)]
    kinds = list(product(widths, MOTIONS))
    wanted = len(kinds) if plan.clips is None else plan.clips
    turns = count()
    found = []
    for number, (width, motion) in enumerate(islice(cycle(kinds), wanted)):
        turn = next(turn for turn in turns if is_wide_enough(subjects[turn % len(subjects)], width))
        strength = plan.strengths[(turn // len(MOTIONS) + turn) % len(plan.strengths)]
        seed = plan.seed + number // len(kinds)
        found.append(
            scene_of_one(subjects[turn % len(subjects)], width, motion, strength, frames=plan.frames, seed=seed)
        )
    return found if plan.clips is not None else found + _meetings(subjects, plan) + _at_bounds(subjects, plan)


def _meetings(subjects: Sequence[Subject], plan: ClipPlan) -> list[Scene]:
    large = [subject for subject in subjects if is_wide_enough(subject, _MEETING_WIDTH)]
    if len(large) < 2:
        return []
    return [
        meeting(large, _MEETING_WIDTH, MEDIUM.name, side, frames=plan.frames, seed=plan.seed) for side in _MEETING_SIDES
    ]


def _at_bounds(subjects: Sequence[Subject], plan: ClipPlan) -> list[Scene]:
    """Faces about as wide as from where on they are restored, and from where on sharpness decides by which expert."""
    bounds = RoutingBounds.model_validate({})
    widths = [round(share * bound) for bound in (bounds.w_skip, bounds.w_medium) for share in _ABOUT_BOUNDS]
    frames = _BREATHS * plan.frames
    return [
        scene_of_one(subject, width, BREATHE, MEDIUM.name, frames=frames, seed=plan.seed)
        for width in widths
        for subject in [each for each in subjects if is_wide_enough(each, width)][:1]
    ]


def known_reports(
    scenes: Sequence[Scene],
    stages: Stages,
    meter: IdentityMeter,
    progress: EvaluationProgress,
    settings: Sequence[Setting],
) -> list[FaceReport]:
    """Every face of clips that are made here, under each setting."""
    found: list[FaceReport] = []
    for scene in scenes:
        with tempfile.TemporaryDirectory(prefix="facemill-eval-") as folder:
            truths = scene.truths()
            clip = Path(folder) / "clip.mp4"
            scene.write(truths, clip)
            for number, setting in enumerate(settings):
                progress.begin(f"{scene.name}, {setting.name}")
                area = Path(folder) / str(number)
                area.mkdir()
                found += _known(scene, truths, clip, stages, setting, area, meter)
                progress.finish(scene.frames * len(scene.actors))
        stages.forget()
    return found


def _known(
    scene: Scene,
    truths: Sequence[Image],
    clip: Path,
    stages: Stages,
    setting: Setting,
    folder: Path,
    meter: IdentityMeter,
) -> Iterator[FaceReport]:
    made = stages.process(clip, setting, folder, _SIZE, most_frames=scene.frames)
    restored = list(frames_of(made.restored))
    source = [frame for _, frame in frames_of(made.baseline)]
    pts = [at for at, _ in restored]
    results = [frame for _, frame in restored]
    lumas = [[luma(frame) for frame in frames] for frames in (results, source, truths)]
    for place, actor in enumerate(scene.actors):
        rows = followed(made.faces, pts, scene, place)
        counted = steady(rows)
        flickers = [known_flicker(frames, scene, place)[counted] for frames in lumas]
        of_result, of_source, of_truth = (float(each.mean()) if len(each) else None for each in flickers)
        enough = len(rows) >= scene.frames * 3 // 4
        judged = [
            likeness(meter, truths[number], source[number], results[number], scene, place, number)
            for number, face in rows
            if number % LIKENESS_EVERY == 0 and face["expert"]
        ]
        yield FaceReport(
            setting=setting.name,
            clip=f"{scene.name} #{scene.seed}",
            width=round(actor.width),
            static=actor.motion == "still",
            motion=actor.motion,
            flicker=of_result,
            of_source=of_source,
            of_truth=of_truth,
            jitter=max(jitter(rows, scene, place)) if enough else None,
            switches=switches(rows),
            changes=changes(rows),
            missed=1 - len(rows) / scene.frames,
            likeness=tuple(judged),
            weakened=_weakened([face for _, face in rows]),
        )


def real_reports(
    clips: Sequence[Path],
    stages: Stages,
    progress: EvaluationProgress,
    settings: Sequence[Setting],
    *,
    frames: int,
) -> list[FaceReport]:
    """Every restored face of real clips, under each setting; motion is found, not known."""
    found: list[FaceReport] = []
    for clip in clips:
        for setting in settings:
            progress.begin(f"{clip.name}, {setting.name}")
            with tempfile.TemporaryDirectory(prefix="facemill-eval-") as folder:
                made = stages.process(clip, setting, Path(folder), _SIZE, most_frames=frames)
                pairs = list(flow_flicker(frames_of(made.baseline), frames_of(made.restored), made.faces, SCALE))
            found += _real(clip.name, setting, pairs, made.faces)
            progress.finish(frames)
        stages.forget()
    return found


def _real(
    clip: str, setting: Setting, pairs: Sequence[FlowFlicker], faces: Sequence[dict[str, Any]]
) -> list[FaceReport]:
    reports = []
    for track in sorted({pair.track for pair in pairs}):
        own = [pair for pair in pairs if pair.track == track]
        rows = [face for face in faces if face["track"] == track]
        for static in (True, False):
            here = [pair for pair in own if (pair.motion < STATIC_PX) == static]
            if len(here) < 5:
                continue  # of so few frames a mean says nothing
            reports.append(
                FaceReport(
                    setting=setting.name,
                    clip=f"{clip} track {track}",
                    width=None,
                    static=static,
                    motion=None,
                    flicker=float(np.mean([pair.restored for pair in here])),
                    of_source=float(np.mean([pair.source for pair in here])),
                    of_truth=None,
                    jitter=None,
                    switches=None,
                    changes=changes(list(enumerate(rows))),
                    missed=0.0,
                    weakened=_weakened(rows),
                )
            )
    return reports


def _weakened(faces: Sequence[dict[str, Any]]) -> float:
    """Share of the faces that an expert was asked for and the identity gate weakened."""
    asked = [face for face in faces if face["decision"].startswith("expert")]
    return float(np.mean(["at strength" in face["reason"] for face in asked])) if asked else 0.0
