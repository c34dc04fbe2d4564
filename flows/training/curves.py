"""A training's curve as a picture: ``python -m flows.training.curves CURVE.csv ... --out curves.svg``."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from flows.svg import document, polyline, text
from flows.training.checkpoint import write_text
from flows.training.portraits import DataError
from flows.training.validation import FIGURES, Figure

_PANEL_WIDTH, _PANEL_HEIGHT = 300, 200
_LEFT, _TOP, _BOTTOM, _RIGHT = 56, 34, 40, 12
_COLOURS = ("#0b62a4", "#d9822b", "#b83a4b", "#3c7d3c")
_TITLES: dict[Figure, str] = {
    "psnr": "PSNR over bicubic, dB",
    "lpips": "LPIPS under bicubic",
    "cosine": "cosine over bicubic",
}


@dataclass(frozen=True)
class Curve:
    """What a training's validations found.

    Attributes:
        name: of the training.
        gains: by figure and condition: (step, how much better than bicubic), by rising step.
    """

    name: str
    gains: dict[Figure, dict[str, list[tuple[int, float]]]]


def read_curve(path: Path) -> Curve:
    """Read the CSV that a training writes.

    Raises:
        DataError: it cannot be read, or is no such table.
    """
    gains: dict[Figure, dict[str, list[tuple[int, float]]]] = {figure: {} for figure in FIGURES}
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                for figure in FIGURES:
                    expert, bicubic = row[f"expert_{figure}"], row[f"bicubic_{figure}"]
                    if expert and bicubic:
                        better = float(expert) - float(bicubic)
                        point = (int(row["step"]), -better if figure == "lpips" else better)
                        gains[figure].setdefault(row["condition"], []).append(point)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: is not a training's curve ({error})") from error
    return Curve(path.name.removesuffix(".csv").removesuffix(".curve"), gains)


def curves_chart(curves: Sequence[Curve]) -> str:
    """SVG: a row a training, a panel a figure, a line a condition; up is better, and 0 is bicubic."""
    parts = [
        _panel(curve, figure, column * _PANEL_WIDTH, row * _PANEL_HEIGHT)
        for row, curve in enumerate(curves)
        for column, figure in enumerate(FIGURES)
    ]
    return document(len(FIGURES) * _PANEL_WIDTH, len(curves) * _PANEL_HEIGHT, parts)


def _panel(curve: Curve, figure: Figure, left: int, top: int) -> str:
    lines = curve.gains[figure]
    values = [gain for points in lines.values() for _, gain in points] or [0.0]
    low, high = min(0.0, *values), max(0.0, *values)
    high = high if high > low else low + 1e-6
    last = max((step for points in lines.values() for step, _ in points), default=1)
    right, floor = _PANEL_WIDTH - _RIGHT, _PANEL_HEIGHT - _BOTTOM

    def place(step: float, gain: float) -> tuple[float, float]:
        return _LEFT + step / last * (right - _LEFT), floor - (gain - low) / (high - low) * (floor - _TOP)

    _, zero = place(0, 0.0)
    parts = [
        text(_LEFT, 14, curve.name, size=11),
        text(_LEFT, 27, _TITLES[figure], size=11, colour="#555"),
        f'<path d="M{_LEFT} {_TOP}V{floor}H{right}" fill="none" stroke="#444"/>',
        f'<path d="M{_LEFT} {zero:.1f}H{right}" stroke="#888" stroke-dasharray="4 4"/>',
        *(text(_LEFT - 6, place(0, at)[1] + 4, f"{at:.3g}", anchor="end", size=10) for at in (low, high)),
        text(right, floor + 14, f"step {last}", anchor="end", size=10),
    ]
    for number, (condition, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(polyline((place(*point) for point in points), colour=colour))
        parts.append(text(_LEFT + 60 * number, floor + 28, condition, size=11, colour=colour))
    if not lines:
        parts.append(text((_LEFT + right) / 2, (_TOP + floor) / 2, "not measured in this stage", anchor="middle"))
    return f'<g transform="translate({left} {top})">' + "".join(parts) + "</g>"


def draw(
    curves: Annotated[list[Path], typer.Argument(metavar="CURVE.csv...", help="Curves that trainings wrote.")],
    out: Annotated[Path, typer.Option(help="The SVG to write.")],
) -> None:
    """Draw how trainings went."""
    write_text(curves_chart([read_curve(path) for path in curves]), out)


if __name__ == "__main__":
    typer.run(draw)
