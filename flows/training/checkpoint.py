"""A training's state on disk: small, without pickle, readable on another machine.

One safetensors file holds, for every parameter, ``weights.*`` (float32), ``average.*`` (float16, the EMA),
and AdamW's ``first.*`` and ``second.*`` moments (bfloat16: they need range, not precision). Its header
carries the counters as JSON. An adversary's critic follows as ``critic.*``. So an expert of half a million
parameters is 5 MB. It is written under a temporary name and renamed: a killed training leaves the last whole state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from storage.errors import FacemillError

_HEADER = "facemill_training"


class CheckpointError(FacemillError):
    """A training state cannot be read or does not fit; the message names the file and the reason."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Attributes:
        expert: "t" or "f".
        step: optimizer steps done.
        steps: optimizer steps planned; the cosine schedule ends there.
        seed: of the whole training.
        seconds: spent in steps so far, over all resumes.
    """

    expert: str
    step: int
    steps: int
    seed: int
    seconds: float = 0.0


def write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file whole or not at all."""
    with _drafted(path) as draft:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, draft, metadata)


def write_text(text: str, path: Path) -> None:
    """Write a text file whole or not at all."""
    with _drafted(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextmanager
def _drafted(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, renamed to it when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        draft.chmod(0o644)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def save_state(
    path: Path,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    critic: nn.Module | None = None,
) -> None:
    """Write the state of a training."""
    averages = dict(average.named_parameters())
    tensors: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        tensors[f"weights.{name}"] = parameter.float().cpu()
        tensors[f"average.{name}"] = averages[name].half().cpu()
        moments = optimizer.state.get(parameter, {})
        if moments:
            tensors[f"first.{name}"] = moments["exp_avg"].bfloat16().cpu()
            tensors[f"second.{name}"] = moments["exp_avg_sq"].bfloat16().cpu()
    if critic is not None:
        tensors |= {f"critic.{name}": value.cpu() for name, value in critic.state_dict().items()}
    write_tensors(tensors, path, {_HEADER: json.dumps(asdict(progress))})


def load_state(
    path: Path,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    critic: nn.Module | None = None,
) -> Progress:
    """Put a saved state into freshly made objects, in place; a critic's optimizer starts anew.

    Raises:
        CheckpointError: the file is not a training state, is truncated, or belongs to another architecture.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            header = (stored.metadata() or {}).get(_HEADER)
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from error
    if header is None:
        raise CheckpointError(f"{path}: holds tensors but no training state")
    progress = Progress(**json.loads(header))
    averages = dict(average.named_parameters())
    for name, parameter in network.named_parameters():
        stored_shape = tuple(tensors.get(f"weights.{name}", torch.empty(0)).shape)
        if stored_shape != tuple(parameter.shape):
            raise CheckpointError(f"{path}: {name} has shape {stored_shape}, expected {tuple(parameter.shape)}")
        with torch.no_grad():
            parameter.copy_(tensors[f"weights.{name}"])
            averages[name].copy_(tensors[f"average.{name}"])
        if f"first.{name}" in tensors:
            optimizer.state[parameter] = {
                "step": torch.tensor(float(progress.step)),
                "exp_avg": tensors[f"first.{name}"].to(parameter),
                "exp_avg_sq": tensors[f"second.{name}"].to(parameter),
            }
    if critic is not None:
        prefix = "critic."
        state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        try:
            critic.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(f"{path}: its critic does not fit ({error})") from error
    return progress
