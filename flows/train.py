"""``facemill train``: from a folder of portraits to an expert's weights.

Run it as ``python -m flows.train --expert t --data DIR --out weights/expert_t.safetensors``. The same command
again continues where the last one stopped, at any moment and on any machine that has the state file.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

import cv2
import torch
import typer
from torch import nn

from actors.experts.architectures import UnfitStateError, network_from_state
from actors.experts.checkpoint import network_from_file
from flows.torch_device import usable_device
from flows.training.card import CardFacts, write_card
from flows.training.checkpoint import CheckpointError, TrainingState, read_training_state
from flows.training.degradation import CLEAN, HARD, MEDIUM
from flows.training.loop import Training, TrainingFiles
from flows.training.losses import TunedWeights
from flows.training.pairs import SCALE
from flows.training.portraits import FaceCache, Split, draw_weights, read_portraits
from flows.training.schedule import LoopSettings
from flows.training.stages import CURRICULA, DEFAULTS, Curriculum, Stage, from_scratch, tuned
from flows.training.validation import Score, validation_samples
from storage.errors import FacemillError, UsageError
from storage.folders import open_folder
from weights import WeightsError, find_weights, verify_weights

INTERRUPTED = 130
"""Exit code of a training that was stopped."""

PATCH_MULTIPLE = 8
"""Sides of a patch are multiples of this many px: Expert-T's windows."""


def train(
    expert: Annotated[Literal["t", "f"], typer.Option(help="Which expert: t (transformer) or f (frequency).")],
    data: Annotated[Path, typer.Option(help="Folder with faces.csv, train/ and val/.")],
    out: Annotated[
        Path, typer.Option(help="The weights to write (.safetensors); state, curve and card go into training/.")
    ],
    stage: Annotated[
        Stage,
        typer.Option(
            help="pixels: from scratch. From there, faithful: the right pixels and person; natural: what people see."
        ),
    ] = "pixels",
    begin: Annotated[
        Path | None,
        typer.Option(help="Weights that a training begins with; after the first stage: the registered faithful ones."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimizer steps in all, earlier runs included. Default 20000, 4000, 8000.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="End this run's steps, and the schedule, after so many; a validation follows.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Patches a step. Default 8, tuning 2.")] = None,
    patch: Annotated[
        int | None, typer.Option(help="Side of a low-resolution patch in px, a multiple of 8. Default 32, tuning 80.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Peak learning rate. Default 0.001, tuning 0.0003.")] = None,
    pixels: Annotated[
        float | None, typer.Option(help="Tuning: weight of the pixel loss's logarithm. Default 0, natural 0.3.")
    ] = None,
    alex: Annotated[
        float | None, typer.Option(help="Tuning: weight of LPIPS with AlexNet. Default 0.6, natural 5.")
    ] = None,
    vgg: Annotated[
        float | None, typer.Option(help="Tuning: weight of squared LPIPS with VGG-16. Default 0, natural 3.")
    ] = None,
    identity: Annotated[
        float | None, typer.Option(help="Tuning: weight of SFace's distance and its square. Default 0.5, natural 8.")
    ] = None,
    squared: Annotated[
        float | None,
        typer.Option(help="Tuning: weight of the root mean square error's logarithm. Default 1, natural 0."),
    ] = None,
    trust: Annotated[
        float | None,
        typer.Option(help="Tuning: pixels count less on damaged patches, by this power. Default 0, natural 5."),
    ] = None,
    near: Annotated[
        float | None,
        typer.Option(help="Tuning: LPIPS with AlexNet under which a patch is left alone. Default 0.14."),
    ] = None,
    nearer: Annotated[
        float | None,
        typer.Option(help="Tuning: the same as a share of its bicubic enlargement's. Default 0.72, natural 0."),
    ] = None,
    adversary: Annotated[
        float, typer.Option(help="Tuning: a critic's push, as a share of all other losses'; 0 for none.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of weights, data and noise.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads for the network.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes that make pairs; 0 makes them between steps.")] = 0,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder for decoded faces, some 1 MB each; default: facemill-faces in the temporary folder, kept."
        ),
    ] = None,
    validate_every: Annotated[float, typer.Option(help="Minutes between validations.")] = 12.0,
    validation_faces: Annotated[int, typer.Option(help="Most faces to validate on.")] = 12,
) -> list[Score]:
    """Train an expert on a folder of portraits; the same command again continues.

    Writes ``out`` (averaged weights) and, into ``training/`` beside it, the state to continue from, the curve of
    figures and, when it is through, a model card. Progress goes to standard output. Stopping the process (Ctrl-C) saves
    first; the exit code is then 130, unless it had come to its last validation.

    Raises:
        typer.Exit: it was stopped before its last validation.
        storage.errors.UsageError: an option has a value that cannot be trained with.
        storage.errors.DestinationError: ``out`` or ``cache`` cannot be written to.
        weights.WeightsError: ``begin``, or a network that a tuned loss asks, cannot be used.
        flows.training.portraits.DataError: the folder holds no usable faces.
        flows.training.checkpoint.CheckpointError: the state beside ``out`` does not fit.
        flows.training.loop.TrainingError: not even one patch fits into memory, or the training diverged.
    """
    settings = _settings(stage, steps, minutes, batch, rate, seed, workers, validate_every)
    patch = DEFAULTS[stage].patch if patch is None else patch
    if patch < PATCH_MULTIPLE or patch % PATCH_MULTIPLE:
        raise UsageError(f"--patch is {patch} px; it must be a multiple of {PATCH_MULTIPLE}, the attention window")
    _refuse_below(1, {"--threads": threads, "--validation-faces": validation_faces})
    weights = _weights(
        stage,
        pixels=pixels,
        squared=squared,
        alex=alex,
        vgg=vgg,
        identity=identity,
        trust=trust,
        near=near,
        nearer=nearer,
    )
    _refuse_below(0, {"--adversary": adversary})
    target = usable_device(device)
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    torch.manual_seed(seed)
    portraits, validated = (read_portraits(data, split, typer.echo) for split in _SPLITS)
    curriculum, files = CURRICULA[expert], _files_at(out)
    setup = from_scratch(curriculum)
    if weights is not None:
        setup = tuned(curriculum, weights, adversary, settings.peak_rate, target)
        begin = begin or verify_weights(find_weights(f"expert_{expert}_faithful"))
    saved = read_training_state(files.state) if files.state.is_file() else None
    if saved is not None:
        saved.require(expert, stage)
    network = _network(curriculum, begin, saved)
    training = Training(
        expert,
        network,
        setup.loss,
        settings,
        files,
        device=target,
        report=typer.echo,
        stage=stage,
        saved=saved,
        adversary=setup.adversary,
        perception=setup.perception,
    )
    parameters = sum(parameter.numel() for parameter in network.parameters())
    cache = cache or Path(tempfile.gettempdir()) / "facemill-faces"
    faces, held_out = (FaceCache(listed, cache, typer.echo) for listed in (portraits, validated))
    typer.echo(f"expert {expert}, {stage}: {parameters:,} parameters, {len(faces)} faces")
    samples = validation_samples(held_out, curriculum.validation_width, (CLEAN, MEDIUM, HARD), limit=validation_faces)
    # A view has room for a patch to be laid around the landmarks.
    recipe = replace(setup.recipe, patch=patch, tile=max(setup.recipe.tile, patch + patch // 4))
    with _stopped_by_signals(training):
        scores = training.run(faces, draw_weights(faces.portraits), recipe, samples)
    if training.stopping and not scores:
        raise typer.Exit(INTERRUPTED)
    if scores:
        told: dict[str, object] = {
            "seed": seed,
            "steps": settings.steps,
            "minutes": minutes,
            "batch": settings.batch,
            "patch": patch,
            "rate": settings.peak_rate,
            "begin": None if begin is None else begin.name,
        }
        if weights is not None:
            told |= asdict(weights) | {"adversary": adversary}
        facts = CardFacts(
            title=out.stem,
            network=type(network).__name__,
            parameters=parameters,
            stage=stage,
            options={option: value for option, value in told.items() if value is not None},
            step=training.progress.step,
            seconds=training.progress.seconds,
            portraits=faces.portraits,
            held_out=held_out.portraits,
            width=curriculum.validation_width,
            scores=scores,
        )
        typer.echo(f"model card: {write_card(facts, files.card)}")
    return scores


def _files_at(out: Path) -> TrainingFiles:
    """The training's files, once it is known that they can be written: hours go into them.

    Raises:
        UsageError: ``out`` does not name a .safetensors file.
        storage.errors.DestinationError: its folder cannot be made, or takes no files.
    """
    if out.suffix != ".safetensors" or os.path.isdir(out):  # Path.is_dir raises where it may not look
        raise UsageError(f"--out {out}: name the file of weights to write, NAME.safetensors")
    files = TrainingFiles.beside(out)
    for folder in (out.parent, files.state.parent):
        open_folder(folder)
    return files


_SPLITS: tuple[Split, ...] = ("train", "val")


def _weights(stage: Stage, **given: float | None) -> TunedWeights | None:
    """The weights of a tuned loss: the stage's, but for those given; None for the first stage.

    Raises:
        UsageError: one is below zero, or the stage has none.
    """
    changed = {term: weight for term, weight in given.items() if weight is not None}
    preset = DEFAULTS[stage].weights
    if preset is None and changed:
        raise UsageError(f"--{min(changed)} weighs a term of --stage faithful and natural; --stage is {stage}")
    _refuse_below(0, {f"--{term}": weight for term, weight in changed.items()})
    return None if preset is None else replace(preset, **changed)


def _network(curriculum: Curriculum, begin: Path | None, saved: TrainingState | None) -> nn.Module:
    """The network to train: as large as the saved one, else with the weights to begin with, else a fresh one.

    Raises:
        CheckpointError, UsageError: the saved one, or the one to begin with, is not of the expert's kind.
    """
    fresh = curriculum.network()
    kind = type(fresh).__name__
    if saved is not None:
        try:
            network = network_from_state(saved.part("weights")).train()
        except UnfitStateError as error:
            raise CheckpointError(f"{saved.path}: its weights do not fit: {error}") from error
        if type(network) is not type(fresh):
            raise CheckpointError(f"{saved.path}: holds a {type(network).__name__}, but this expert is a {kind}")
        return network
    if begin is None:
        return fresh
    network = network_from_file(begin, scale=SCALE).train()
    if type(network) is not type(fresh):
        raise UsageError(f"--begin {begin}: holds a {type(network).__name__}, but this expert is a {kind}")
    return network


def _settings(
    stage: Stage,
    steps: int | None,
    minutes: float | None,
    batch: int | None,
    rate: float | None,
    seed: int,
    workers: int,
    validate_every: float,
) -> LoopSettings:
    """The loop's settings, with the stage's defaults.

    Raises:
        UsageError: one cannot be trained with.
    """
    default = DEFAULTS[stage]
    settings = LoopSettings(
        steps=default.steps if steps is None else steps,
        minutes=minutes,
        batch=default.batch if batch is None else batch,
        peak_rate=default.rate if rate is None else rate,
        seed=seed,
        workers=workers,
        validate_every=validate_every,
    )
    _refuse_below(1, {"--steps": settings.steps, "--batch": settings.batch})
    _refuse_below(0, {"--workers": workers, "--seed": seed})
    above_zero = {"--rate": settings.peak_rate, "--validate-every": validate_every, "--minutes": minutes}
    for option, value in above_zero.items():
        if value is not None and not (0 < value < math.inf):
            raise UsageError(f"{option} is {value:g}; it must be above 0")
    return settings


def _refuse_below(least: int, options: Mapping[str, float]) -> None:
    for option, value in options.items():
        if not (least <= value < math.inf):
            raise UsageError(f"{option} is {value:g}; it must be at least {least}")


@contextmanager
def _stopped_by_signals(training: Training) -> Iterator[None]:
    """While inside, an interrupt or a termination ends the training after its step, with everything saved."""
    interruptions = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(interruption, lambda *_: training.stop()) for interruption in interruptions]
    try:
        yield
    finally:
        for interruption, handler in zip(interruptions, before, strict=True):
            signal.signal(interruption, handler)


if __name__ == "__main__":
    try:
        typer.run(train)
    except (FacemillError, WeightsError) as error:
        print(f"facemill: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
