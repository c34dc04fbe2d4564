"""What ``facemill eval --calibrate identity`` does."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Literal

from rich.console import Console

from actors.identity import IdentityMeter
from actors.routing import RoutingBounds
from flows.evaluation import gate_calibration
from flows.evaluation.loading import default_cache, load_restorer, tables_console, use_threads
from flows.evaluation.options import known, listed, width_of
from flows.evaluation.page import write_text
from flows.evaluation.peers import PEERS, check_peers
from flows.evaluation.progress import EvaluationProgress
from flows.evaluation.restorers import ExpertChoice, Restorer
from flows.evaluation.samples import STRENGTHS
from flows.evaluation.subjects import read_subjects
from flows.torch_device import usable_device
from flows.training.degradation import CLEAN, HARD, MEDIUM
from storage.folders import open_folder
from weights import find_weights, verify_weights


def try_gate(
    data: Path,
    split: Literal["train", "val"],
    faces: int | None,
    widths: str | None,
    strengths: str | None,
    experts: ExpertChoice,
    threads: int | None,
    cache: Path | None,
    out: Path | None,
    *,
    peers: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Judge good restorations and planted failures by the identity gate, and tell how many it weakens."""
    threads = use_threads(threads)
    names = tuple(PEERS) if peers else ()
    trial = gate_calibration.Trial(
        widths=tuple(width_of(text) for text in listed(widths, [str(width) for width in gate_calibration.WIDTHS])),
        strengths=tuple(known("--strengths", strengths, list(STRENGTHS), [CLEAN.name, MEDIUM.name, HARD.name])),
        peers=names,
        seed=seed,
    )
    check_peers(names)
    usable_device(experts.device)
    meter = IdentityMeter(verify_weights(find_weights("sface")))
    if out is not None:
        open_folder(out)
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    subjects = read_subjects(data, split, faces or gate_calibration.FACES, console.print)
    folder = cache or default_cache()

    @functools.cache
    def load(name: str) -> Restorer:
        if name.startswith(gate_calibration.SHUFFLED_EXPERT):
            return experts.load_shuffled(name.removeprefix(gate_calibration.SHUFFLED_EXPERT))
        return load_restorer(name, experts, folder, threads)

    with EvaluationProgress(console, total=trial.work(subjects)) as progress:
        rows = gate_calibration.gate_rows(trial.run(subjects, load, meter, RoutingBounds.model_validate({}), progress))
    if as_json:
        print(json.dumps([row.as_dict() for row in rows]))
    else:
        tables_console().print(gate_calibration.gate_table(rows))
    if out is not None:
        write_text(out / "identity_gate.json", json.dumps([row.as_dict() for row in rows]) + "\n")
