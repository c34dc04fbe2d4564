"""``facemill train``: from a folder of portraits to an expert's weights.

Run it as ``python -m flows.train --expert t --data DIR --out weights/expert_t.safetensors``. The same command
again continues where the last one stopped, at any moment and on any machine that has the state file.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import cv2
import torch
import typer
from torch import nn

from actors.experts.frequency import FrequencyExpert
from actors.experts.transformer import TransformerExpert
from flows.training.degradation import BLURRED_FACES, CLEAN, HARD, MEDIUM, SHARPER_FACES
from flows.training.loop import LoopSettings, Loss, Training, TrainingFiles
from flows.training.losses import faithful_loss_f, faithful_loss_t
from flows.training.pairs import PairRecipe
from flows.training.portraits import FaceCache, draw_weights, read_portraits
from flows.training.validation import Score, validation_samples
from storage.errors import UsageError


@dataclass(frozen=True)
class Curriculum:
    """What one expert is and what it is taught.

    Attributes:
        network: makes the untrained network.
        recipe: the faces and their degradations.
        loss: what it minimises.
        validation_width: of the degraded validation faces, px: the middle of what the router sends it.
    """

    network: Callable[[], nn.Module]
    recipe: PairRecipe
    loss: Loss
    validation_width: int


CURRICULA = {
    "t": Curriculum(TransformerExpert, PairRecipe(BLURRED_FACES, (50, 150)), faithful_loss_t, 64),
    "f": Curriculum(FrequencyExpert, PairRecipe(SHARPER_FACES, (80, 150)), faithful_loss_f, 110),
}

PATCH_MULTIPLE = 8
"""Sides of a patch are multiples of this many px: Expert-T's windows."""


def train(
    expert: Annotated[Literal["t", "f"], typer.Option(help="Which expert: t (transformer) or f (frequency).")],
    data: Annotated[Path, typer.Option(help="Folder with faces.csv, train/ and val/.")],
    out: Annotated[
        Path, typer.Option(help="The weights to write (.safetensors); state and curve go into training/ there.")
    ],
    steps: Annotated[int, typer.Option(help="Optimizer steps in all, earlier runs included.")] = 20_000,
    minutes: Annotated[float | None, typer.Option(help="End this run, and the schedule, after so many.")] = None,
    batch: Annotated[int, typer.Option(help="Patches a step.")] = 8,
    patch: Annotated[int, typer.Option(help="Side of a low-resolution patch in px, a multiple of 8.")] = 32,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Of weights, data and noise.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads for the network.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes that make pairs; 0 makes them between steps.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder for decoded faces; default: a temporary folder.")] = None,
    validate_every: Annotated[float, typer.Option(help="Minutes between validations.")] = 12.0,
    validation_faces: Annotated[int, typer.Option(help="Most faces to validate on.")] = 12,
) -> list[Score]:
    """Train an expert on a folder of portraits; the same command again continues.

    Writes ``out`` (averaged weights), and into ``training/`` beside it the state to continue from and the curve of
    figures. Progress goes to standard output. Stopping the process (Ctrl-C) saves first.

    Raises:
        storage.errors.UsageError: an option has a value that cannot be trained with.
        flows.training.portraits.DataError: the folder holds no usable faces.
        flows.training.checkpoint.CheckpointError: the state beside ``out`` does not fit.
    """
    if patch < PATCH_MULTIPLE or patch % PATCH_MULTIPLE:
        raise UsageError(f"--patch is {patch} px; it must be a multiple of {PATCH_MULTIPLE}, the attention window")
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    torch.manual_seed(seed)
    cache = cache or Path(tempfile.gettempdir()) / "facemill-faces"
    training_portraits, held_out = read_portraits(data, "train"), read_portraits(data, "val")
    settings = LoopSettings(
        steps=steps,
        minutes=minutes,
        batch=batch,
        peak_rate=rate,
        seed=seed,
        workers=workers,
        validate_every=validate_every,
    )
    curriculum = CURRICULA[expert]
    network = curriculum.network()
    training = Training(
        expert,
        network,
        curriculum.loss,
        settings,
        TrainingFiles.beside(out),
        device=torch.device(device),
        report=typer.echo,
    )
    parameters = sum(parameter.numel() for parameter in network.parameters())
    typer.echo(f"expert {expert}: {parameters:,} parameters, {len(training_portraits)} faces")
    faces = FaceCache(training_portraits, cache)
    samples = validation_samples(
        FaceCache(held_out, cache), curriculum.validation_width, (CLEAN, MEDIUM, HARD), limit=validation_faces
    )
    recipe = replace(curriculum.recipe, patch=patch, tile=max(curriculum.recipe.tile, patch))
    with _stopped_by_signals(training):
        return training.run(faces, draw_weights(training_portraits), recipe, samples)


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
    typer.run(train)
