"""What was measured on clips, as tables and rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from rich.table import Table

from flows.evaluation.video.scenes import BREATHE
from flows.evaluation.video.trial import WORSE_BY, FaceReport


@dataclass(frozen=True)
class Summary:
    """Of one setting over faces of one kind.

    Attributes:
        setting, kind: names.
        n: faces.
        flicker: of the results over the sources', both summed over the faces: below 1 is steadier; None where nothing
            was restored.
        flicker_most: of the face that it is highest for.
        jitter: median over faces; px of the source; None where no face's place is known.
        jitter_most: of the face with the most.
        switches: of tracks, in all; None where it is not known whose faces they are.
        changes: of what is done to a face, in all.
        cosine, source_cosine: mean, of results and of enlarged sources, to the truth.
        worse: faces in frames whose cosine is lower than the source's by more than 0.05, in 1,000.
        weakened: share of the faces' frames.
    """

    setting: str
    kind: str
    n: int
    flicker: float | None
    flicker_most: float | None
    jitter: float | None
    jitter_most: float | None
    switches: int | None
    changes: int
    cosine: float | None
    source_cosine: float | None
    worse: float | None
    weakened: float


Kind = tuple[str, Callable[[FaceReport], bool]]
"""A name, and whether a face belongs to it."""


def summaries(reports: Sequence[FaceReport], kinds: Sequence[Kind]) -> list[Summary]:
    """One for each kind and setting that has faces, in order."""
    settings = list(dict.fromkeys(report.setting for report in reports))
    found = []
    for kind, belongs in kinds:
        for setting in settings:
            own = [report for report in reports if report.setting == setting and belongs(report)]
            if own:
                found.append(_summary(setting, kind, own))
    return found


def kinds_of(widths: Sequence[int] = ()) -> list[Kind]:
    """How faces are grouped: static and moving; and, where widths are known, in meetings, at bounds and by these."""
    kinds: list[Kind] = [("static", lambda report: report.static), ("moving", _moves)]
    if widths:
        kinds.append(("meetings", lambda report: report.clip.startswith("meeting")))
        kinds.append(("at bounds", lambda report: report.motion == BREATHE))
        kinds += [(f"{width} px", partial(_has_width, width)) for width in widths]
    return kinds


def _moves(report: FaceReport) -> bool:
    """Of those about a bound one more would be counted three times: their clips are as long."""
    return not report.static and report.motion != BREATHE


def _has_width(width: int, report: FaceReport) -> bool:
    return report.width == width and report.motion != BREATHE


def _summary(setting: str, kind: str, reports: Sequence[FaceReport]) -> Summary:
    pairs = [(r.flicker, r.of_source) for r in reports if r.flicker is not None and r.of_source]
    jitters = [report.jitter for report in reports if report.jitter is not None]
    switches = [report.switches for report in reports if report.switches is not None]
    faces = [each for report in reports for each in report.likeness]
    worse = [each.source - each.restored > WORSE_BY for each in faces]
    return Summary(
        setting=setting,
        kind=kind,
        n=len(reports),
        flicker=_rounded(sum(own for own, _ in pairs) / sum(source for _, source in pairs)) if pairs else None,
        flicker_most=_rounded(max(own / source for own, source in pairs)) if pairs else None,
        jitter=_rounded(np.median(jitters)) if jitters else None,
        jitter_most=_rounded(max(jitters)) if jitters else None,
        switches=sum(switches) if switches else None,
        changes=sum(report.changes for report in reports),
        cosine=_rounded(np.mean([each.restored for each in faces])) if faces else None,
        source_cosine=_rounded(np.mean([each.source for each in faces])) if faces else None,
        worse=_rounded(1000 * np.mean(worse)) if faces else None,
        weakened=_rounded(np.mean([report.weakened for report in reports])),
    )


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 3)


def table_of(title: str, rows: Sequence[Summary]) -> Table:
    """Summaries as a table."""
    table = Table(title=title, title_justify="left")
    for header in ("faces", "setting"):
        table.add_column(header, no_wrap=True)
    headers = ["n", "flicker x", "most", "jitter px", "most", "switches", "changes", "cosine", "source"]
    headers += ["worse /1000", "weakened"]
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for at, row in enumerate(rows):
        cells = (row.flicker, row.flicker_most, row.jitter, row.jitter_most)
        likeness = (row.cosine, row.source_cosine)
        table.add_row(
            row.kind,
            row.setting,
            str(row.n),
            *(_told(cell) for cell in cells),
            "" if row.switches is None else str(row.switches),
            str(row.changes),
            *(_told(cell) for cell in likeness),
            "" if row.worse is None else f"{row.worse:.1f}",
            f"{100 * row.weakened:.1f}%",
            end_section=at + 1 == len(rows) or rows[at + 1].kind != row.kind,
        )
    return table


def _told(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
