"""Figures as tables for a terminal: first what each restorer does on the faces that are its own, then by width, then by
source, then whether routing pays, then flicker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.table import Table

from actors.routing import RoutingBounds, Tier, tier_of
from flows.evaluation.bench import Measurement, mean, mean_ms
from flows.evaluation.flicker import FlickerRow
from flows.evaluation.restorers import BICUBIC, EXPERT_F, EXPERT_T

Means = dict[str, float]


def own_widths(restorer: str, bounds: RoutingBounds) -> Callable[[int], bool]:
    """Whether a face width is one that the router sends to a restorer; every width is an enlargement's or a peer's."""
    tiers = {EXPERT_T: {Tier.SMALL, Tier.MEDIUM}, EXPERT_F: {Tier.MEDIUM}}.get(restorer)
    return lambda width: tiers is None or tier_of(width, bounds) in tiers


def print_tables(
    measured: Sequence[Measurement], flicker: Sequence[FlickerRow], bounds: RoutingBounds, console: Console
) -> None:
    """Print all of them."""
    console.print(overview(measured, bounds))
    console.print(breakdown("By width", measured, lambda m: f"{m.width} px"))
    own = [m for m in measured if own_widths(m.restorer, bounds)(m.width)]
    console.print(breakdown("By source, over the widths that the router sends each", own, lambda m: m.source))
    for table in (routing(measured, bounds), flickering(flicker)):
        if table.row_count:
            console.print(table)


def overview(measured: Sequence[Measurement], bounds: RoutingBounds) -> Table:
    """Each restorer at each strength over the widths that the router sends to it, beside bicubic on the same faces."""
    table = Table(
        title="Over the widths that the router sends each (in brackets: change against bicubic on the same faces)",
        title_justify="left",
    )
    for header in ("strength", "restorer", "widths", "n"):
        table.add_column(header, no_wrap=True)
    for header in ("PSNR dB", "SSIM", "LPIPS", "cosine", "sharpness", "ms"):
        table.add_column(header, justify="right", no_wrap=True)
    for strength in _in_order(m.strength for m in measured):
        for name in _in_order(m.restorer for m in measured):
            mine = [m for m in measured if m.strength == strength and m.restorer == name]
            mine = [m for m in mine if own_widths(name, bounds)(m.width)]
            if mine:
                widths = sorted({m.width for m in mine})
                told = f"{widths[0]}-{widths[-1]}" if len(widths) > 1 else str(widths[0])
                table.add_row(
                    strength, name, told, str(len(mine)), *_cells(_mean(mine), _bicubic(mine, measured)), _ms(mine)
                )
        table.add_section()
    return table


def _cells(found: Means, bicubic: Means | None) -> list[str]:
    gains = {
        "psnr": lambda b: f" ({found['psnr'] - b['psnr']:+.2f})",
        "lpips": lambda b: f" ({100 * (found['lpips'] / max(b['lpips'], 1e-9) - 1):+.0f}%)",
        "cosine": lambda b: f" ({found['cosine'] - b['cosine']:+.3f})",
    }
    formats = {"psnr": ".2f", "ssim": ".3f", "lpips": ".3f", "cosine": ".3f", "sharpness": ".3f"}
    return [
        f"{found[name]:{form}}" + (gains[name](bicubic) if bicubic and name in gains else "")
        for name, form in formats.items()
    ]


def breakdown(title: str, measured: Sequence[Measurement], part: Callable[[Measurement], str]) -> Table:
    """PSNR, LPIPS and cosine of each restorer at each strength, in parts."""
    strengths = _in_order(m.strength for m in measured)
    table = Table(title=f"{title}: PSNR dB, LPIPS, cosine", title_justify="left")
    for header in ("", "restorer", "n"):
        table.add_column(header, no_wrap=True)
    for strength in strengths:
        table.add_column(strength, justify="right", no_wrap=True)
    for name_of_part in _in_order(part(m) for m in measured):
        here = [m for m in measured if part(m) == name_of_part]
        for restorer in _in_order(m.restorer for m in here):
            mine = [m for m in here if m.restorer == restorer]
            cells = []
            for strength in strengths:
                found = [m for m in mine if m.strength == strength]
                means = _mean(found) if found else None
                cells.append(f"{means['psnr']:.2f} {means['lpips']:.3f} {means['cosine']:.3f}" if means else "")
            table.add_row(name_of_part, restorer, str(len(mine) // max(1, len(strengths))), *cells)
        table.add_section()
    return table


def routing(measured: Sequence[Measurement], bounds: RoutingBounds) -> Table:
    """What both experts make of the faces that sharpness divides between them: does each win on its own?"""
    table = Table(title="Does routing pay? Faces that sharpness divides", title_justify="left")
    for header in ("routed to", "by", "n"):
        table.add_column(header, no_wrap=True)
    for header in ("PSNR dB", "SSIM", "LPIPS", "cosine", "sharpness", "ms"):
        table.add_column(header, justify="right", no_wrap=True)
    divided = [m for m in measured if tier_of(m.width, bounds) is Tier.MEDIUM]
    for owner in (EXPERT_T, EXPERT_F):
        for worker in (BICUBIC, EXPERT_T, EXPERT_F):
            sharp = owner == EXPERT_F
            mine = [m for m in divided if m.restorer == worker and (m.sharpness_lr >= bounds.q_low) == sharp]
            if mine:
                table.add_row(owner, worker, str(len(mine)), *_cells(_mean(mine), _bicubic(mine, measured)), _ms(mine))
        table.add_section()
    return table


def flickering(rows: Sequence[FlickerRow]) -> Table:
    """Flicker of each restorer beside bicubic's and the truth's."""
    table = Table(
        title="Flicker of a moving portrait: grey levels from frame to frame, and to bicubic's", title_justify="left"
    )
    for header in ("width", "strength", "restorer", "n"):
        table.add_column(header, no_wrap=True)
    for header in ("flicker", "x bicubic", "truth"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        cells = (f"{row.flicker:.2f}", f"{row.to_bicubic:.2f}", f"{row.of_truth:.2f}")
        table.add_row(str(row.width), row.strength, row.restorer, str(row.n), *cells)
    return table


def _ms(measured: Sequence[Measurement]) -> str:
    ms = mean_ms([m.figures for m in measured])
    return "" if ms is None else f"{ms:.0f}"


def _mean(measured: Sequence[Measurement]) -> Means:
    return mean([m.figures for m in measured])


def _bicubic(mine: Sequence[Measurement], measured: Sequence[Measurement]) -> Means | None:
    """Bicubic's means over the same samples; None for bicubic itself and where it was not measured."""
    if not mine or mine[0].restorer == BICUBIC:
        return None
    wanted = {(m.face, m.width, m.strength) for m in mine}
    same = [m for m in measured if m.restorer == BICUBIC and (m.face, m.width, m.strength) in wanted]
    return _mean(same) if len(same) == len(mine) else None


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
