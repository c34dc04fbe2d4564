"""``facemill eval``: what the experts do to faces whose truth is known, in figures and in pictures."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import cv2
import torch
import typer
from rich.console import Console

from actors.routing import RoutingBounds
from flows.evaluation.bench import Bench, Measurement, Row, rows_of, samples_of
from flows.evaluation.figures import load_meter
from flows.evaluation.remembered import FigureStore
from flows.evaluation.restorers import BICUBIC, EXPERT_F, EXPERT_T, LANCZOS, PLAIN, Enlargement, ExpertChoice, Restorer
from flows.evaluation.samples import STRENGTHS
from flows.evaluation.subjects import read_subjects
from storage.errors import UsageError

WIDTHS = (50, 64, 80, 100, 125, 150)
_ALLOWED_WIDTHS = range(32, 401)


def evaluate(
    data: Annotated[Path, typer.Option(help="Folder with faces.csv, train/ and val/, or of portraits.")],
    split: Annotated[Literal["train", "val"], typer.Option(help="Which faces of the table.")] = "val",
    faces: Annotated[int | None, typer.Option(help="Most faces, spread over the folder.", show_default="all")] = None,
    widths: Annotated[str, typer.Option(help="Widths of the degraded faces, px.")] = ",".join(map(str, WIDTHS)),
    strengths: Annotated[str, typer.Option(help="Degradations.")] = ",".join(STRENGTHS),
    restorers: Annotated[str, typer.Option(help="What to compare.")] = ",".join(PLAIN),
    weights_t: Annotated[Path | None, typer.Option(help="Weights for Expert-T instead of its own.")] = None,
    weights_f: Annotated[Path | None, typer.Option(help="Weights for Expert-F instead of its own.")] = None,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    cache: Annotated[Path | None, typer.Option(help="Folder that remembers figures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON and nothing else.")] = False,
) -> list[Row]:
    """Restore degraded faces whose originals are known, and compare.

    Raises:
        storage.errors.UsageError: an option has a value that cannot be evaluated with.
        flows.training.portraits.DataError: the folder holds no usable faces.
        weights.WeightsError: the experts' weights, or those of the networks that measure, cannot be used.
    """
    chosen_widths = [_width(text) for text in _listed(widths)]
    chosen_strengths = _known("--strengths", strengths, list(STRENGTHS))
    chosen_restorers = _known("--restorers", restorers, list(PLAIN))
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    remembered = FigureStore(cache or _default_cache())
    meter = load_meter(device=device)
    subjects = read_subjects(data, split, faces, console.print)
    experts = ExpertChoice(device, weights_t, weights_f)

    def load(name: str) -> Restorer:
        if name in (EXPERT_T, EXPERT_F):
            return experts.load(name)
        return {BICUBIC: Enlargement(BICUBIC, cv2.INTER_CUBIC), LANCZOS: Enlargement(LANCZOS, cv2.INTER_LANCZOS4)}[name]

    bench = Bench(load, meter, RoutingBounds.model_validate({}), remembered)
    measured: list[Measurement] = []
    for width in chosen_widths:
        for strength in chosen_strengths:
            samples = samples_of(subjects, width, strength, seed=seed)
            for name in chosen_restorers:
                measured += bench.measure(name, samples)
            console.print(f"w {width} {strength}: {len(samples)} faces")
    rows = rows_of(measured)
    if as_json:
        print("[\n" + ",\n".join(json.dumps(asdict(row)) for row in rows) + "\n]")
    return rows


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _known(option: str, text: str, known: list[str]) -> list[str]:
    chosen = _listed(text)
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise UsageError(
            f"{option} {text}: {', '.join(unknown) or 'nothing'} is not known; choose from {','.join(known)}"
        )
    return chosen


def _width(text: str) -> int:
    if not text.isdecimal() or int(text) not in _ALLOWED_WIDTHS:
        allowed = f"{_ALLOWED_WIDTHS.start} to {_ALLOWED_WIDTHS.stop - 1}"
        raise UsageError(f"--widths: {text} is not a whole number of px from {allowed}")
    return int(text)


def _default_cache() -> Path:
    """Where figures are remembered unless told otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "facemill" / "eval"


if __name__ == "__main__":
    typer.run(evaluate)
