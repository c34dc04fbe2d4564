"""The curve of a training: a CSV file, one row a validation and condition."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from flows.training.validation import FIGURES, Score


def append(scores: Sequence[Score], step: int, seconds: float, loss: float, path: Path) -> None:
    """Append the scores of one validation.

    Args:
        step: optimizer steps before it.
        seconds: of learning before it.
        loss: mean since the validation before; NaN where there is none.
        path: the curve; made with its header where it is not there.
    """
    is_new = not path.is_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as lines:
        rows = csv.writer(lines)
        if is_new:
            figures = [f"{who}_{figure}" for figure in FIGURES for who in ("expert", "bicubic")]
            rows.writerow(("step", "seconds", "loss", "condition", "faces", *figures))
        for each in scores:
            figures = [_figure(of[figure]) for figure in FIGURES for of in (each.expert, each.bicubic)]
            rows.writerow((step, round(seconds), _figure(loss), each.condition, each.faces, *figures))


def last_step(path: Path) -> int | None:
    """The step of the curve's last row; None where there is none."""
    if not path.is_file():
        return None
    with path.open(newline="") as lines:
        steps = [row["step"] for row in csv.DictReader(lines)]
    return int(steps[-1]) if steps else None


def _figure(value: float) -> str:
    """For the curve: empty where it was not measured."""
    return "" if math.isnan(value) else f"{value:.5g}"
