"""The training loop: resume, step, average, validate, save."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from actors.experts import Expert, ExpertName
from flows.torch_device import learns_in_bfloat16
from flows.training.checkpoint import Progress, TrainingState, save_state, write_tensors
from flows.training.critic import Adversary
from flows.training.curve import append, last_step
from flows.training.losses import Batch, Loss, Perception, reduced
from flows.training.pairs import Faces, Pair, PairRecipe, pair_stream
from flows.training.schedule import Clock, LoopSettings, learning_rate
from flows.training.validation import Sample, Score, score
from storage.errors import FacemillError

Report = Callable[[str], None]

MOST_SILENT_SECONDS = 15.0
"""After so long without a line, a step is told."""

MOST_UNUSABLE = 10
"""So many steps in a row without a finite loss and gradient end a training."""

_OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED")
"""What torch says when memory is over, where it does not say it by a type: CPUs, and libraries on a GPU."""


class TrainingError(FacemillError):
    """A training cannot go on; what it saved last stays."""


@dataclass(frozen=True)
class TrainingFiles:
    """Where a training writes.

    Attributes:
        weights: the averaged weights, safetensors, what an expert is loaded from.
        state: what a resume needs.
        curve: CSV, one row a validation and condition.
        card: the model card as it was generated; one beside the weights is a person's and is never written.
    """

    weights: Path
    state: Path
    curve: Path
    card: Path

    @classmethod
    def beside(cls, out: Path) -> TrainingFiles:
        """The files of ``out``, a .safetensors path: the others go into a folder ``training`` next to it."""
        folder = out.parent / "training"
        state, curve, card = (folder / f"{out.stem}.{kind}" for kind in ("state.safetensors", "curve.csv", "md"))
        return cls(out, state, curve, card)


def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the network; early on faster, so that the random start is forgotten."""
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)


class PairBatches(IterableDataset[Batch]):
    """Endless batches, the originals of one being of one size; each worker process has its own stream."""

    def __init__(
        self,
        faces: Faces,
        weights: NDArray[np.float64],
        recipe: PairRecipe,
        batch: int,
        seed: tuple[int, ...],
    ) -> None:
        self.faces, self.weights, self.recipe, self.batch, self.seed = faces, weights, recipe, batch, seed

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        seed = (*self.seed, 0 if worker is None else worker.id)
        stream = pair_stream(self.faces, self.weights, self.recipe, seed)
        waiting: dict[int, list[Pair]] = {}
        while True:
            pair = next(stream)
            alike = waiting.setdefault(len(pair.patch_hr), [])
            alike.append(pair)
            if len(alike) == self.batch:
                yield _stacked(alike)
                alike.clear()


def _stacked(pairs: list[Pair]) -> Batch:
    # As bytes: a quarter of the way to another process and to a GPU.
    degraded, original, landmarks = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
    return Batch(degraded.permute(0, 3, 1, 2), original.permute(0, 3, 1, 2), landmarks)


class Training:
    """One expert in training: the objects that a saved state is made of, and the loop over them."""

    def __init__(
        self,
        expert: str,
        network: nn.Module,
        loss: Loss,
        settings: LoopSettings,
        files: TrainingFiles,
        *,
        device: torch.device,
        report: Report,
        stage: str = "pixels",
        saved: TrainingState | None = None,
        adversary: Adversary | None = None,
        perception: Perception | None = None,
    ) -> None:
        self.adversary, self.perception = adversary, perception
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network).eval()
        self.loss, self.settings, self.files, self.device, self.report = loss, settings, files, device, report
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=0.0,
            betas=(0.9, 0.99),
            weight_decay=settings.weight_decay,
            fused=device.type == "cuda",
        )
        self._bfloat16 = learns_in_bfloat16(device)
        self.stopping = False
        self._part = settings.batch
        """Patches that are computed at once: the whole batch, until that was too much."""
        self._unusable = 0
        """Steps left out since the last good one."""
        self._clock = Clock(0, settings, time.monotonic())
        self.progress = Progress(expert, 0, settings.steps, settings.seed, stage=stage)
        if saved is not None:
            saved.require(expert, stage)
            saved.restore(self.network, self.average, self.optimizer, self._critic)
            self.progress = replace(self.progress, step=saved.progress.step, seconds=saved.progress.seconds)
            report(f"continuing at step {saved.progress.step} of {settings.steps}")

    @property
    def _critic(self) -> nn.Module | None:
        return None if self.adversary is None else self.adversary.critic

    def run(self, faces: Faces, weights: NDArray[np.float64], recipe: PairRecipe, samples: list[Sample]) -> list[Score]:
        """Train to the last step, or until :meth:`stop`; returns the last validation, if any.

        A resumed training draws a data stream of its own (seeded by seed and step), not the rest of the old
        one. One that is already at its end writes nothing, unless its weights or its last validation are missing.

        Raises:
            TrainingError: not even one patch fits into memory, or the training diverged.
            flows.training.checkpoint.CheckpointError: it diverged so far that there is nothing to save.
        """
        first = self.progress.step
        batches = PairBatches(faces, weights, recipe, self.settings.batch, (self.settings.seed, first))
        loader = DataLoader(
            batches, batch_size=None, num_workers=self.settings.workers, pin_memory=self.device.type == "cuda"
        )
        stream = iter(loader)
        self.network.train()
        validated = saved = told = time.monotonic()
        losses: list[float] = []
        self._clock = Clock(first, self.settings, time.monotonic())
        while self._clock.done(self.progress.step) < 1 and not self.stopping:
            value = self.step(next(stream))
            if math.isnan(value):
                continue
            losses.append(value)
            now = time.monotonic()
            if self.progress.step % 100 == 0 or now - told > MOST_SILENT_SECONDS:
                self.report(self._line(losses))
                told = now
            if now - saved > 60 * self.settings.save_every:
                self.save()
                saved = now
            if now - validated > 60 * self.settings.validate_every:
                self.validate(samples, float(np.mean(losses)))
                losses, validated = [], time.monotonic()
        made = self.progress.step - first
        if made or not self.files.weights.is_file():
            self.save()
        if self.stopping:
            self.report(f"stopped at step {self.progress.step}; the same command again continues")
            return []
        if not made and last_step(self.files.curve) == self.progress.step:
            self.report(f"already at step {self.progress.step} of {self.settings.steps}; give more --steps to go on")
            return []
        return self.validate(samples, float(np.mean(losses)) if losses else math.nan)

    def stop(self) -> None:
        """Ask :meth:`run` to end after the step in hand, with the state saved."""
        self.stopping = True

    def step(self, batch: Batch) -> float:
        """One optimizer step; returns the loss, without the adversary's part.

        A batch whose loss or gradient is not finite moves nothing and is not counted: NaN is returned.

        Raises:
            TrainingError: not even one patch fits into memory, or this was the :data:`MOST_UNUSABLE`-th unusable batch
                in a row.
        """
        started = time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.progress.step, self._clock.done(self.progress.step), self.settings)
        value = self._gather_gradient(batch)
        norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip))
        if not (math.isfinite(value) and math.isfinite(norm)):
            self._leave_out()
            return math.nan
        self._unusable = 0
        self.optimizer.step()
        self.progress = replace(
            self.progress,
            step=self.progress.step + 1,
            seconds=self.progress.seconds + time.monotonic() - started,
        )
        update_average(self.average, self.network, self.settings.average_decay, self.progress.step)
        return value

    def _leave_out(self) -> None:
        self._unusable += 1
        self.report(f"step {self.progress.step}: loss or gradient is not finite; batch left out")
        if self._unusable >= MOST_UNUSABLE:
            raise TrainingError(
                f"{self.files.weights}: loss or gradient was not finite {self._unusable} times in a row at step "
                f"{self.progress.step}; the training diverged. "
                "What was saved before stays; run again with a lower --rate"
            )

    def _gather_gradient(self, batch: Batch) -> float:
        """Leave the batch's gradient in the network, computed in parts as large as memory takes; returns the loss.

        The losses are means over patches, so parts count by their size. Only the terms over whole faces and the
        critic's share are means within a part. What once fitted is kept for later batches.
        """
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                return float(sum(self._learn_from(part, share) for part, share in _parts(batch, self._part)))
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
            # Not in the except clause: there the error's traceback still holds the memory of what failed.
            self._take_smaller_parts(len(batch.degraded))

    def _take_smaller_parts(self, batch: int) -> None:
        if min(self._part, batch) == 1:
            raise TrainingError(f"{self.device}: out of memory with one patch at a time; give a smaller --patch")
        self._part = (min(self._part, batch) + 1) // 2
        self.report(f"out of memory; batches are computed in parts of {self._part} patches from here on")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _learn_from(self, part: Batch, share: float) -> float:
        """Add a part's gradient, times its share of the batch, to the network's; returns its loss times its share."""
        part = part.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16):
            restored = self.network(part.degraded)
        restored = reduced(restored.float(), part.original.shape[-1])
        # The losses' gradient is taken at the picture, where the adversary's can be measured against it.
        shown = restored.detach().requires_grad_()
        loss = self.loss(shown, part)
        value = float(loss.detach())
        if not math.isfinite(value):
            return math.nan  # before the critic learns from it
        (gradient,) = torch.autograd.grad(loss, shown)
        if self.adversary is not None:
            gradient = gradient + self.adversary.push(self.progress.step, shown.detach(), part, gradient)
        restored.backward(share * gradient)
        return share * value

    def save(self) -> None:
        """Write the state and the averaged weights.

        Raises:
            flows.training.checkpoint.CheckpointError: a value is not finite; both files stay as they are.
        """
        save_state(self.files.state, self.network, self.average, self.optimizer, self.progress, self._critic)
        averaged = {name: value.float().cpu() for name, value in self.average.state_dict().items()}
        # One entry: safetensors writes several in any order, and the same weights shall be the same bytes.
        told = f"expert {self.progress.expert}, step {self.progress.step}"
        write_tensors(averaged, self.files.weights, {"facemill_weights": told})

    def validate(self, samples: list[Sample], loss: float) -> list[Score]:
        """Score the averaged weights and append to the curve."""
        name: ExpertName = "expert_t" if self.progress.expert == "t" else "expert_f"
        scores = score(Expert(name, self.average, "in training", device=str(self.device)), samples, self.perception)
        append(scores, self.progress.step, self.progress.seconds, loss, self.files.curve)
        self.report("\n".join(f"step {self.progress.step}: {s}" for s in scores))
        return scores

    def _line(self, losses: list[float]) -> str:
        recent = float(np.mean(losses[-100:])) if losses else math.nan
        pace = self.progress.seconds / self.progress.step
        return f"step {self.progress.step}/{self.settings.steps} loss {recent:.4f} {pace:.2f} s a step"


def _parts(batch: Batch, size: int) -> Iterator[tuple[Batch, float]]:
    """The batch in parts of at most ``size`` patches, each with its share of the batch."""
    whole = len(batch.degraded)
    for first in range(0, whole, size):
        part = Batch(*(tensor[first : first + size] for tensor in batch))
        yield part, len(part.degraded) / whole


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY)
