"""The ExpertF and ExpertT pools: each restores the crops that were routed to it and passes every other through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from actors.consistency import restore_agreeing
from actors.deadline import PART_SECONDS, each_within
from actors.geometry import Landmarks, Placement, rotate_landmarks
from actors.routing import Decision
from actors.work import FaceInFrame, ShardWork, from_table, to_table
from actors.work_log import tell
from storage.encoding import SizeSettings, output_picture
from storage.errors import explain
from weights import DEFAULT_FIDELITY, ExpertWeights, WeightsError, find_model

if TYPE_CHECKING:
    from actors.experts import Expert


class ExpertRestorer:
    """Ray actor: rows in, the same rows out with this expert's crops replaced by patches at the result's scale."""

    def __init__(
        self,
        expert: Decision,
        size: SizeSettings,
        weights: ExpertWeights | None = None,
        *,
        device: str = "cpu",
        threads: int = 1,
        part_seconds: float = PART_SECONDS,
    ) -> None:
        # In the actor only: the driver need not wait for torch.
        import torch

        torch.set_num_threads(threads)
        self._routed_here = expert
        self._size, self._part_seconds = size, part_seconds
        self._expert = loaded_expert(expert, weights, device=device)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        return each_within(self._part_seconds, self._rows(table))

    def _rows(self, table: pa.Table) -> Iterator[pa.Table]:
        for work in from_table(table):
            tell(self._routed_here.value, "begins", work.shard.source, work.shard.range)
            try:
                yield to_table([self.restore(work)])
            except Exception as error:  # a shard's failure is its own: it becomes a receipt with the reason
                yield to_table([work.failed(explain(error))])

    def restore(self, work: ShardWork) -> ShardWork:
        """The row with the crops that are routed to this expert restored."""
        mine = [
            (face, index) for face in work.faces if face.decision is self._routed_here for index in face.crop_indices
        ]
        if work.error or not mine:
            return work
        placement = Placement.of(work.shard.probe, output_picture(work.shard.probe, self._size))
        turns = work.shard.probe.rotation // 90
        upright = [np.ascontiguousarray(np.rot90(work.crops[index], turns)) for _, index in mine]
        restored = restore_agreeing(self._expert, upright, [landmarks_in_crop(face, turns) for face, _ in mine])
        patches = {
            index: placement.resample(np.ascontiguousarray(np.rot90(patch, -turns)), face.crop)
            for (face, index), patch in zip(mine, restored, strict=True)
        }
        return replace(work, crops={**work.crops, **patches})


def landmarks_in_crop(face: FaceInFrame, turns: int) -> Landmarks:
    """A face's landmarks in the pixels of its crop, after that was turned left by `turns` * 90 degrees."""
    in_crop = tuple((x - face.crop.x0, y - face.crop.y0) for x, y in face.landmarks)
    return rotate_landmarks(in_crop, turns, face.crop.width, face.crop.height)


def loaded_expert(expert: Decision, weights: ExpertWeights | None = None, *, device: str = "cpu") -> Expert:
    """The network that restores on a route.

    Args:
        expert: the route.
        weights: what the job has chosen for it; None for the expert's own, as they are by default.
        device: a torch device.

    Raises:
        WeightsError: the weights cannot be used, or are not on this machine what they were where the job was started.
    """
    from actors.experts import ExpertName, load_expert

    name: ExpertName = "expert_f" if expert is Decision.EXPERT_F else "expert_t"
    path = find_model(weights.model) if weights and weights.model else None
    fidelity = weights.fidelity if weights else DEFAULT_FIDELITY
    loaded = load_expert(name, device=device, fidelity=fidelity, weights_path=path)
    if weights is not None and loaded.sha256 != weights.sha256:
        raise WeightsError(
            f"{path or name}: has sha256 {loaded.sha256[:12]}..., the job was started with {weights.sha256[:12]}...; "
            "every machine of the cluster needs the same file at the same place"
        )
    return loaded
