"""The calibration's curve as an SVG picture."""

from __future__ import annotations

import math

from flows.evaluation.calibration import Calibration
from flows.svg import document, polyline, text

_WIDTH, _HEIGHT = 720, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 60
_SMALLEST_Q = 1.0
"""The axis is logarithmic; a bound of 0 is drawn here."""


def calibration_chart(found: Calibration, current: float) -> str:
    """Mean gain of the routed result over the bound, with the best bound, the present one and what no routing gives.

    Args:
        current: the q_low in force.
    """
    scores = [point.mean.score for point in found.points] + [found.ideal.score]
    low, high = min(scores), max(scores)
    margin = 0.08 * max(high - low, 1e-6)
    axes = _Axes(max(2.0, found.points[-1].q_low), low - margin, high + margin)
    curve = [(axes.x(point.q_low), axes.y(point.mean.score)) for point in found.points]
    left, right = (axes.x(q) for q in found.likely)
    parts = [
        f'<rect x="{left:.1f}" y="{_TOP}" width="{max(1.0, right - left):.1f}" height="{_HEIGHT - _TOP - _BOTTOM}" '
        'fill="#dceefb"/>',
        *axes.drawn(),
        _level(axes, found.always_t.mean.score, "all to Expert-T", at_left=True),
        _level(axes, found.always_f.mean.score, "all to Expert-F"),
        _level(axes, found.ideal.score, "each to the better one"),
        polyline(curve, colour="#0b62a4"),
        _upright(axes, found.best.q_low, f"best {found.best.q_low:g}", "#0b62a4"),
        _upright(axes, current, f"now {current:g}", "#999"),
        text(
            _LEFT,
            22,
            f"Routed result over q_low, {found.faces} degraded faces (band: the best bound of other draws)",
            size=14,
        ),
        text(_WIDTH / 2, _HEIGHT - 12, "q_low: variance of the Laplacian of the degraded face", anchor="middle"),
        f'<g transform="translate(16 {_HEIGHT / 2}) rotate(-90)">'
        + text(0, 0, "mean gain over bicubic (std. deviations)", anchor="middle")
        + "</g>",
    ]
    return document(_WIDTH, _HEIGHT, parts)


class _Axes:
    """From figures to places in the picture."""

    def __init__(self, most: float, low: float, high: float) -> None:
        self._span = math.log10(most / _SMALLEST_Q)
        self._low, self._high = low, high

    def x(self, q_low: float) -> float:
        share = math.log10(max(q_low, _SMALLEST_Q) / _SMALLEST_Q) / self._span
        return _LEFT + min(1.0, share) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, score: float) -> float:
        share = (score - self._low) / (self._high - self._low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def drawn(self) -> list[str]:
        floor = _HEIGHT - _BOTTOM
        lines = [
            f'<path d="M{_LEFT} {_TOP}V{floor}H{_WIDTH - _RIGHT}" fill="none" stroke="#444"/>',
        ]
        for decade in range(math.floor(self._span) + 1):
            at = self.x(10.0**decade)
            lines.append(f'<path d="M{at:.1f} {floor}v5" stroke="#444"/>')
            lines.append(text(at, floor + 18, f"{10**decade}", anchor="middle"))
        for fifth in range(6):
            score = self._low + fifth / 5 * (self._high - self._low)
            lines.append(f'<path d="M{_LEFT - 5} {self.y(score):.1f}h5" stroke="#444"/>')
            lines.append(text(_LEFT - 8, self.y(score) + 4, f"{score:.2f}", anchor="end"))
        return lines


def _level(axes: _Axes, score: float, label: str, *, at_left: bool = False) -> str:
    """A horizontal line; its label stands where the curve, which ends in it, does not."""
    at = axes.y(score)
    line = f'<path d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}" stroke="#888" stroke-dasharray="4 4"/>'
    if at_left:
        return line + text(_LEFT + 6, at - 4, label, size=11)
    return line + text(_WIDTH - _RIGHT, at - 4, label, anchor="end", size=11)


def _upright(axes: _Axes, q_low: float, label: str, colour: str) -> str:
    at = axes.x(q_low)
    line = f'<path d="M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="{colour}" stroke-dasharray="2 3"/>'
    return line + text(at, _HEIGHT - _BOTTOM + 34, label, anchor="middle", colour=colour)
