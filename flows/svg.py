"""Charts as SVG: the pieces that more than one chart is drawn with."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape


def text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, colour: str = "#222") -> str:
    """Words at a place in px; ``anchor`` says which end of them stands there."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}" fill="{colour}">{escape(words)}</text>'


def polyline(points: Iterable[tuple[float, float]], *, colour: str) -> str:
    """A line through places in px."""
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>'


def document(width: int, height: int, parts: Iterable[str]) -> str:
    """A whole picture on white, sizes in px."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'font-family="sans-serif"><rect width="{width}" height="{height}" fill="white"/>' + "".join(parts) + "</svg>\n"
    )
