"""What ``facemill eval --video`` does."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from rich.console import Console

from actors.identity import IdentityMeter
from actors.routing import Decision
from flows.evaluation.page import write_text
from flows.evaluation.progress import EvaluationProgress
from flows.evaluation.subjects import Subject
from flows.evaluation.video.stages import Setting, Stages
from flows.evaluation.video.tables import kinds_of, summaries, table_of
from flows.evaluation.video.trial import ClipPlan, known_reports, real_reports, scenes
from flows.signals import ENDING, heed
from storage.catalogue import find_sources
from storage.errors import UsageError
from storage.store import Store
from weights import find_weights, verify_weights

SUBJECTS = 6
REAL_FRAMES = 75
"""Of each real clip: three seconds at 25 a second."""


def evaluate_videos(
    subjects: Sequence[Subject],
    real: Path | None,
    plan: ClipPlan,
    settings: Sequence[Setting],
    *,
    fidelity: float,
    models: Mapping[Decision, str | None],
    threads: int,
    out: Path | None,
    as_json: bool,
    console: Console,
    tables: Console,
) -> None:
    """Measure, and tell.

    Args:
        real: folder of real clips; None for none.
        plan: of the clips that are made.
        settings: under which every clip is done.
        models: files or registered names of models in place of the experts' own sets.

    Raises:
        UsageError: there is nothing to measure on.
        storage.errors.FacemillError: a clip cannot be read.
        weights.WeightsError: SFace's weights or the experts' cannot be used.
    """
    clips = [Path(source.url) for source in find_sources([str(real)], Store())] if real else []
    made = scenes(subjects, plan)
    if not made and not clips:
        raise UsageError(
            "--clips 0: then give real clips by --real"
            if plan.clips == 0
            else "--video: no portrait is wide enough for a clip; give larger ones, or real clips by --real"
        )
    identity = verify_weights(find_weights("sface")).read_bytes()
    stages = Stages(identity, fidelity=fidelity, models=models, threads=threads)
    work = len(settings) * (sum(scene.frames * len(scene.actors) for scene in made) + len(clips) * REAL_FRAMES)
    with EvaluationProgress(console, total=work) as progress, _ended_like_ctrl_c():
        known = known_reports(made, stages, IdentityMeter(identity), progress, settings)
        found = real_reports(clips, stages, progress, settings, frames=REAL_FRAMES)
    parts = {
        "clips of known truth": summaries(known, kinds_of(plan.widths)),
        "real clips": summaries(found, kinds_of()),
    }
    told = json.dumps({name: [asdict(row) for row in rows] for name, rows in parts.items()})
    if as_json:
        print(told)
    else:
        for name, rows in parts.items():
            if rows:
                tables.print(table_of(name.capitalize(), rows))
    if out is not None:
        write_text(out / "video.json", told + "\n")
        write_text(out / "video_faces.json", json.dumps([report.as_dict() for report in (*known, *found)]) + "\n")


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """What ends it is an interrupt here: clips in temporary folders are taken away before the end."""
    with ExitStack() as heeded:

        def interrupted(number: int, frame: FrameType | None) -> None:
            heed(heeded, lambda *_: None, *ENDING)  # a closed terminal may say so twice: the taking away goes on
            signal.default_int_handler(number, frame)

        heed(heeded, interrupted, *ENDING)
        yield
