"""The ExpertF and ExpertT pools: each restores the crops that were routed to it and passes every other through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from actors.geometry import Placement
from actors.routing import Decision
from actors.work import ShardWork, from_table, to_table
from storage.encoding import SizeSettings, output_picture
from storage.errors import explain
from weights import DEFAULT_FIDELITY


class ExpertRestorer:
    """Ray actor: rows in, the same rows out with this expert's crops replaced by patches at the result's scale."""

    def __init__(
        self,
        expert: Decision,
        size: SizeSettings,
        fidelity: float = DEFAULT_FIDELITY,
        *,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        # In the actor only: the driver need not wait for torch.
        import torch

        from actors.experts import ExpertName, load_expert

        torch.set_num_threads(threads)
        self._routed_here = expert
        self._size = size
        name: ExpertName = "expert_f" if expert is Decision.EXPERT_F else "expert_t"
        self._expert = load_expert(name, device=device, fidelity=fidelity)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        for work in from_table(table):
            try:
                yield to_table([self.restore(work)])
            except Exception as error:  # a shard's failure is its own: it becomes a receipt with the reason
                yield to_table([work.failed(explain(error))])

    def restore(self, work: ShardWork) -> ShardWork:
        """The row with the crops that are routed to this expert restored."""
        mine = [face for face in work.faces if face.decision is self._routed_here and face.crop_index >= 0]
        if work.error or not mine:
            return work
        placement = Placement.of(work.shard.probe, output_picture(work.shard.probe, self._size))
        turns = work.shard.probe.rotation // 90
        upright = [np.ascontiguousarray(np.rot90(work.crops[face.crop_index], turns)) for face in mine]
        restored = self._expert.restore(upright)
        patches = {
            face.crop_index: placement.resample(np.ascontiguousarray(np.rot90(patch, -turns)), face.crop)
            for face, patch in zip(mine, restored, strict=True)
        }
        return replace(work, crops={**work.crops, **patches})
