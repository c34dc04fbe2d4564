"""A training's state on disk: small, without pickle, readable on another machine.

One safetensors file holds, for every parameter, ``weights.*`` and ``average.*`` (float32, the EMA; float16 in older
files), and AdamW's ``first.*`` and ``second.*`` moments (bfloat16: they need range, not precision). Its header
carries the counters as JSON. An adversary's critic follows as ``critic.*``. So an expert of half a million
parameters is 6 MB. It is written under a temporary name and renamed: a killed training leaves the last whole state.
A state with a value that is not finite is not written, so that a training that diverged leaves the last good one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from storage.errors import FacemillError, explain

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
        stage: "pixels", "faithful" or "natural"; None in states older than this field.
    """

    expert: str
    step: int
    steps: int
    seed: int
    seconds: float = 0.0
    stage: str | None = None


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
    """Write the state of a training.

    Raises:
        CheckpointError: a value of it is NaN or infinite; the file that is there stays as it is.
    """
    averages = dict(average.named_parameters())
    tensors: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        tensors[f"weights.{name}"] = parameter.float().cpu()
        tensors[f"average.{name}"] = averages[name].float().cpu()
        moments = optimizer.state.get(parameter, {})
        if moments:
            tensors[f"first.{name}"] = moments["exp_avg"].bfloat16().cpu()
            tensors[f"second.{name}"] = moments["exp_avg_sq"].bfloat16().cpu()
    if critic is not None:
        tensors |= {f"critic.{name}": value.cpu() for name, value in critic.state_dict().items()}
    broken = _not_finite(tensors)
    if broken is not None:
        raise CheckpointError(
            f"{path}: not written, {broken} holds NaN or infinity: the training diverged. What was saved before stays; "
            "run again with a lower --rate"
        )
    write_tensors(tensors, path, {_HEADER: json.dumps(asdict(progress))})


@dataclass(frozen=True)
class TrainingState:
    """A state as it was read.

    Attributes:
        path: where from; errors name it.
        progress: the counters.
        tensors: all others, by their names in the file.
    """

    path: Path
    progress: Progress
    tensors: dict[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """What is stored under ``name`` ("weights", "average", "first", "second", "critic"), by parameter."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}

    def require(self, expert: str, stage: str) -> None:
        """Refuse the state of another expert or stage; one that does not tell its stage is taken for either.

        Raises:
            CheckpointError: it is one.
        """
        found = (self.progress.expert, self.progress.stage or stage)
        if found != (expert, stage):
            raise CheckpointError(
                f"{self.path}: of expert {found[0]}, {found[1]} stage, not of expert {expert}, {stage} stage; "
                "give another --out, or the command that it belongs to"
            )

    def restore(
        self,
        network: nn.Module,
        average: nn.Module,
        optimizer: torch.optim.Optimizer,
        critic: nn.Module | None = None,
    ) -> None:
        """Put the state into freshly made objects, in place; a critic's optimizer starts anew.

        Raises:
            CheckpointError: it belongs to another architecture, or lacks a part.
        """
        averages = dict(average.named_parameters())
        stored = {part: self.part(part) for part in ("weights", "average", "first", "second")}
        for name, parameter in network.named_parameters():
            self._require_shape(f"weights.{name}", parameter)
            self._require_shape(f"average.{name}", parameter)
            with torch.no_grad():
                parameter.copy_(stored["weights"][name])
                averages[name].copy_(stored["average"][name])
            if name in stored["first"]:
                self._require_shape(f"first.{name}", parameter)
                self._require_shape(f"second.{name}", parameter)
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(self.progress.step), device=parameter.device),
                    "exp_avg": _laid_out_as(parameter, stored["first"][name]),
                    "exp_avg_sq": _laid_out_as(parameter, stored["second"][name]),
                }
        if critic is not None:
            self._restore_critic(critic)

    def _require_shape(self, name: str, parameter: Tensor) -> None:
        if name not in self.tensors:
            raise CheckpointError(f"{self.path}: {name} is missing; use the state that the training wrote")
        shape, expected = tuple(self.tensors[name].shape), tuple(parameter.shape)
        if shape != expected:
            raise CheckpointError(f"{self.path}: {name} has shape {shape}, expected {expected}")

    def _restore_critic(self, critic: nn.Module) -> None:
        stored = self.part("critic")
        if not stored:
            raise CheckpointError(f"{self.path}: holds no critic; it was trained without: continue with --adversary 0")
        try:
            critic.load_state_dict(stored)
        except RuntimeError as error:
            raise CheckpointError(f"{self.path}: its critic does not fit ({explain(error)})") from error


def _laid_out_as(parameter: nn.Parameter, values: Tensor) -> Tensor:
    """Values in a parameter's type, place and order in memory, as a fused optimizer takes them."""
    return torch.empty_like(parameter, requires_grad=False).copy_(values)


def read_training_state(path: Path) -> TrainingState:
    """Read a state; what it is put into, :meth:`TrainingState.restore` decides.

    Raises:
        CheckpointError: the file is no training state, is truncated, of another version, or holds NaN or infinity.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            header = (stored.metadata() or {}).get(_HEADER)
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({explain(error)})") from error
    if header is None:
        raise CheckpointError(f"{path}: holds tensors but no training state")
    broken = _not_finite(tensors)
    if broken is not None:
        raise CheckpointError(f"{path}: {broken} holds NaN or infinity; the training diverged: use an earlier state")
    return TrainingState(path, _progress(header, path), tensors)


def _progress(header: str, path: Path) -> Progress:
    try:
        told = json.loads(header)
        unknown = sorted(told.keys() - {field.name for field in fields(Progress)})
        if unknown:
            raise ValueError(f"{', '.join(unknown)} is unknown here")
        return Progress(
            expert=str(told["expert"]),
            step=int(told["step"]),
            steps=int(told["steps"]),
            seed=int(told["seed"]),
            seconds=float(told.get("seconds", 0.0)),
            stage=None if told.get("stage") is None else str(told["stage"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: its header is not one of this version of facemill ({explain(error)}); "
            "continue with the version that wrote it, or give another --out"
        ) from error


def _not_finite(tensors: dict[str, Tensor]) -> str | None:
    """Name of the first tensor with a value that is NaN or infinite."""
    return next((name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()), None)
