"""``facemill eval``: what the experts do to faces whose originals are known, in figures and in pictures.

How faces are degraded and compared: docs/evaluation.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from actors.routing import Decision, RoutingBounds, Tier, tier_of
from flows.evaluation import calibration
from flows.evaluation.bench import Bench, Measurement, rows_of, samples_of
from flows.evaluation.calibration import Calibration, calibrate
from flows.evaluation.chart import calibration_chart
from flows.evaluation.figures import load_meter
from flows.evaluation.flicker import FRAMES, FlickerRow, flicker_rows
from flows.evaluation.gate_command import try_gate
from flows.evaluation.loading import default_cache, load_restorer, tables_console, use_threads
from flows.evaluation.options import known, listed, width_of
from flows.evaluation.page import cases_of, judged_restorer, rows_as_json, write_page, write_rows, write_text
from flows.evaluation.peers import PEERS, check_peers
from flows.evaluation.progress import EvaluationProgress
from flows.evaluation.remembered import FigureStore
from flows.evaluation.restorers import BICUBIC, EXPERT_F, EXPERT_T, PLAIN, ExpertChoice
from flows.evaluation.samples import STRENGTHS
from flows.evaluation.subjects import Subject, evenly, read_subjects
from flows.evaluation.tables import print_tables
from flows.evaluation.video.command import SUBJECTS, evaluate_videos
from flows.evaluation.video.stages import SETTINGS
from flows.evaluation.video.trial import STRENGTHS as CLIPS_OF_STRENGTHS
from flows.evaluation.video.trial import WIDTHS as CLIPS_OF_WIDTHS
from flows.evaluation.video.trial import ClipPlan
from flows.torch_device import usable_device
from flows.training.degradation import CLEAN, HARD, MEDIUM
from storage.errors import UsageError
from storage.folders import open_folder
from weights import DEFAULT_FIDELITY

WIDTHS = (50, 64, 80, 100, 125, 150)
CLIPS = 3
CLIP_WIDTHS = (64, 125)
"""Flicker is measured at these, as far as they are among the widths."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        widths, strengths, restorers: every combination of them.
        clips: subjects whose moving clips flicker is measured on.
        seed: of the noise.
    """

    widths: tuple[int, ...]
    strengths: tuple[str, ...]
    restorers: tuple[str, ...]
    clips: int
    seed: int


def evaluate(
    data: Annotated[Path, typer.Option(help="Folder with faces.csv, train/ and val/, or any folder of portraits.")],
    split: Annotated[Literal["train", "val"], typer.Option(help="Which faces of the table.")] = "val",
    faces: Annotated[int | None, typer.Option(min=1, help="Most faces, spread over the folder. Default: all.")] = None,
    widths: Annotated[
        str | None, typer.Option(help=f"Widths of the degraded faces, px. Default: {','.join(map(str, WIDTHS))}.")
    ] = None,
    strengths: Annotated[
        str | None, typer.Option(help=f"Of {','.join(STRENGTHS)}. Default: clean,medium,hard.")
    ] = None,
    restorers: Annotated[
        str | None, typer.Option(help=f"Of {','.join([*PLAIN, *PEERS])}. Default: all but the last {len(PEERS)}.")
    ] = None,
    peers: Annotated[bool, typer.Option("--peers", help=f"Also {' and '.join(PEERS)}: slow the first time.")] = False,
    fidelity: Annotated[
        float, typer.Option(min=0, max=1, help="Of the experts: 0 natural, 1 faithful.")
    ] = DEFAULT_FIDELITY,
    weights_t: Annotated[
        str | None, typer.Option(metavar="FILE|NAME", help="A model to use in Expert-T's place.")
    ] = None,
    weights_f: Annotated[
        str | None, typer.Option(metavar="FILE|NAME", help="A model to use in Expert-F's place.")
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(
            min=0,
            help=f"Moving clips that flicker is measured on. Default: {CLIPS}; with --video: one a width and motion.",
        ),
    ] = None,
    calibrate_bound: Annotated[
        Literal["q_low", "identity"] | None,
        typer.Option("--calibrate", help="Instead of tables: find the best q_low, or try the identity gate's bounds."),
    ] = None,
    video: Annotated[
        bool,
        typer.Option("--video", help="Instead of stills: clips, through the product's own stages."),
    ] = False,
    real: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --video: also the real clips of this folder.")
    ] = None,
    shipped_only: Annotated[
        bool,
        typer.Option("--shipped-only", help="With --video: as shipped, not also with parts of the product turned off."),
    ] = False,
    q_low: Annotated[float | None, typer.Option(min=0, help="The router's bound. Default: the one in force.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: half of the cores.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for a page of pictures, and the figures as files.")] = None,
    tiles: Annotated[int, typer.Option(min=1, help="Degraded faces that the page shows.")] = 60,
    cache: Annotated[Path | None, typer.Option(help="Folder that remembers figures from run to run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON and nothing else.")] = False,
) -> None:
    """Restore degraded faces whose originals are known, and compare.

    Raises:
        storage.errors.UsageError: an option has a value that cannot be evaluated with, or a package is missing.
        storage.errors.DestinationError: the page or the figures cannot be written.
        flows.training.portraits.DataError: the folder holds no usable faces.
        weights.WeightsError: the experts' weights, or those of the networks that measure, cannot be used.
    """
    bounds = RoutingBounds.model_validate({} if q_low is None else {"q_low": q_low})
    if real is not None and not video:
        raise UsageError("--real: real clips are only looked at with --video")
    stills_only = {"--calibrate": calibrate_bound, "--peers": peers or None, "--restorers": restorers, "--q-low": q_low}
    given = [name for name, value in stills_only.items() if value is not None]
    if video and given:
        raise UsageError(f"{given[0]}: only without --video")
    if shipped_only and not video:
        raise UsageError("--shipped-only: only with --video is anything of the product turned off")
    if video:
        clip_plan = ClipPlan(
            widths=_widths(widths, CLIPS_OF_WIDTHS),
            strengths=known("--strengths", strengths, list(STRENGTHS), CLIPS_OF_STRENGTHS),
            clips=clips,
            seed=seed,
        )
        threads = use_threads(threads)
        console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
        if out is not None:
            open_folder(out)
        evaluate_videos(
            read_subjects(data, split, faces or SUBJECTS, console.print),
            real,
            clip_plan,
            SETTINGS[:1] if shipped_only else SETTINGS,
            fidelity=fidelity,
            models={Decision.EXPERT_T: weights_t, Decision.EXPERT_F: weights_f},
            threads=threads,
            out=out,
            as_json=as_json,
            console=console,
            tables=tables_console(),
        )
        return
    if calibrate_bound == "identity":
        choice = ExpertChoice(device, fidelity, weights_t, weights_f)
        try_gate(
            data, split, faces, widths, strengths, choice, threads, cache, out, peers=peers, seed=seed, as_json=as_json
        )
        return
    calibrating = bool(calibrate_bound)
    if calibrating or (as_json and out is None):
        clips = 0  # nobody would see their flicker
    clips = CLIPS if clips is None else clips
    plan = _plan(
        widths, strengths, restorers, peers=peers, clips=clips, seed=seed, calibrating=calibrating, bounds=bounds
    )
    threads = use_threads(threads)
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    check_peers([name for name in plan.restorers if name in PEERS])
    usable_device(device)
    meter = load_meter(device=device)
    if out is not None:
        open_folder(out)
    most = calibration.FACES if calibrate_bound and faces is None else faces
    subjects = read_subjects(data, split, most, console.print)
    folder = cache or default_cache()
    setting = f"{device}, {threads} threads"
    remembered = FigureStore(folder, setting)
    experts = ExpertChoice(device, fidelity, weights_t, weights_f)
    bench = Bench(lambda name: load_restorer(name, experts, folder, threads), meter, bounds, remembered)
    measured, flicker = run(plan, bench, subjects, remembered, console)
    if calibrate_bound:
        _tell_calibration(calibrate(measured), bounds.q_low, out, as_json=as_json)
        return
    rows = rows_of(measured)
    if as_json:
        print(rows_as_json(rows), end="")
    else:
        print_tables(measured, flicker, bounds, tables_console())
    if out is not None:
        write_rows(out, "rows", rows)
        write_rows(out, "flicker", flicker)
        judged = judged_restorer(plan.restorers)
        page = write_page(out, cases_of(measured, judged, tiles), judged, bench, subjects, seed=seed)
        console.print(f"pictures: {page}")


def run(
    plan: Plan, bench: Bench, subjects: Sequence[Subject], remembered: FigureStore, console: Console
) -> tuple[list[Measurement], list[FlickerRow]]:
    """Measure everything that the plan names.

    Raises:
        UsageError: no face is wide enough for any of the widths.
    """
    on_clips = evenly(subjects, plan.clips)
    clip_widths = [width for width in CLIP_WIDTHS if width in plan.widths] or list(plan.widths[:1])
    steps = len(plan.strengths) * len(plan.restorers)
    work = steps * sum(width**2 * len(subjects) for width in plan.widths)
    work += steps * sum(width**2 * FRAMES * len(on_clips) for width in clip_widths)
    measured: list[Measurement] = []
    flicker: list[FlickerRow] = []
    with EvaluationProgress(console, total=work) as progress:
        for width in plan.widths:
            for strength in plan.strengths:
                samples = samples_of(subjects, width, strength, seed=plan.seed)
                for name in plan.restorers:
                    progress.begin(f"{name}, {width} px, {strength}, {len(samples)} faces")
                    measured += bench.measure(name, samples)
                    progress.finish(width**2 * len(subjects))
        for width in clip_widths:
            if not on_clips:
                break
            for strength in plan.strengths:
                progress.begin(f"flicker, {width} px, {strength}, clips: {len(on_clips)}")
                flicker += flicker_rows(bench, plan.restorers, on_clips, width, strength, remembered, seed=plan.seed)
                progress.finish(width**2 * FRAMES * len(on_clips) * len(plan.restorers))
    if not measured:
        raise UsageError(f"--widths: no face is wide enough for {min(plan.widths)} px. Give larger portraits")
    return measured, flicker


def _plan(
    widths: str | None,
    strengths: str | None,
    restorers: str | None,
    *,
    peers: bool,
    clips: int,
    seed: int,
    calibrating: bool,
    bounds: RoutingBounds,
) -> Plan:
    """Check the options; a calibration has its own defaults, and needs bicubic and both experts."""
    usual_widths = calibration.WIDTHS if calibrating else WIDTHS
    usual_strengths = list(STRENGTHS) if calibrating else [CLEAN.name, MEDIUM.name, HARD.name]
    if calibrating:
        _check_divided(listed(widths, []), bounds)
    chosen = [BICUBIC, EXPERT_T, EXPERT_F] if calibrating else known("--restorers", restorers, [*PLAIN, *PEERS], PLAIN)
    return Plan(
        widths=_widths(widths, usual_widths),
        strengths=tuple(known("--strengths", strengths, list(STRENGTHS), usual_strengths)),
        restorers=tuple(dict.fromkeys([*chosen, *(PEERS if peers and not calibrating else ())])),
        clips=clips,
        seed=seed,
    )


def _widths(text: str | None, usual: Sequence[int]) -> tuple[int, ...]:
    return tuple(width_of(part) for part in listed(text, [str(width) for width in usual]))


def _check_divided(widths: Sequence[str], bounds: RoutingBounds) -> None:
    """Refuse widths of faces that sharpness does not divide between the experts."""
    for text in widths:
        if tier_of(width_of(text), bounds) is not Tier.MEDIUM:
            raise UsageError(
                f"--widths: {text} px: q_low divides only faces of {bounds.w_medium:g} to below {bounds.w_resize:g} px"
            )


def _tell_calibration(found: Calibration, current: float, out: Path | None, *, as_json: bool) -> None:
    """Print the curve and the best bound; with a folder, also write both and the chart."""
    if as_json:
        print(json.dumps(found.as_dict()))
    else:
        console = tables_console()
        console.print(_curve_table(found))
        low, high = found.likely
        console.print(
            f"best q_low {found.best.q_low:g} of {found.faces} degraded faces ({low:g} to {high:g} for other draws); "
            f"now {current:g}"
        )
    if out is not None:
        write_text(out / "calibration.json", json.dumps(found.as_dict()) + "\n")
        write_text(out / "calibration.svg", calibration_chart(found, current))


def _curve_table(found: Calibration) -> Table:
    table = Table(
        title="Routed result, gains over bicubic (score: mean of the three in deviations)", title_justify="left"
    )
    for header in ("q_low", "to F", "score", "PSNR dB", "LPIPS", "cosine"):
        table.add_column(header, justify="right", no_wrap=True)
    shown = found.points[:: max(1, len(found.points) // 16)]
    named = {"all to F": found.always_f, "all to T": found.always_t, "best": found.best}
    for label, point in [*((f"{point.q_low:g}", point) for point in shown), *named.items()]:
        mean = point.mean
        table.add_row(
            label,
            f"{100 * point.share_f:.0f}%",
            f"{mean.score:.3f}",
            f"{mean.psnr:+.2f}",
            f"{mean.lpips:+.3f}",
            f"{mean.cosine:+.3f}",
        )
    ideal = found.ideal
    cells = (f"{ideal.score:.3f}", f"{ideal.psnr:+.2f}", f"{ideal.lpips:+.3f}", f"{ideal.cosine:+.3f}")
    table.add_row("ideal", "", *cells)
    return table


if __name__ == "__main__":
    typer.run(evaluate)
