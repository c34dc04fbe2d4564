"""The four pools as one Ray Data plan: shards in, receipts out."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray.data
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.util.annotations import RayDeprecationWarning

from actors.expert_restorer import ExpertRestorer
from actors.face_detector import FaceDetector
from actors.frame_compositor import FrameCompositor
from actors.routing import Decision
from actors.work import ShardWork, to_table
from flows import patience
from flows.job import IDENTITY, Job
from flows.pools import Pool, PoolPlan
from storage.receipts import Receipt
from storage.shards import Shard
from weights import find_weights


def set_ray_data_context() -> None:
    """Ray Data's settings for a job, in place before its first execution."""
    context = DataContext.get_current()
    # A row that kills its worker every time is missing afterwards, which the ledger notices; it does not end the job.
    context.max_errored_blocks = -1
    # One row a block: rows of one task would be merged up to this many bytes, and moved and lost together.
    context.target_max_block_size = 1


def receipts(job: Job, shards: Sequence[Shard], pools: PoolPlan) -> Generator[Receipt, None, None]:
    """Run the pools over the shards; receipts come as they are done, in any order.

    Raises:
        FacemillError: Ray gave the whole job up.
    """
    if not shards:
        return
    with patience.gives_up_after(job.config.pools.seconds_for(job.config.shard_seconds)):
        for row in _plan(job, shards, pools).iter_rows():
            yield Receipt.from_json(row["receipt"])


class InObjectStore:
    """A file's content for actors on any machine: read once here, moved once to each machine."""

    def __init__(self, path: Path) -> None:
        self._content = ray.put(path.read_bytes())

    def __call__(self) -> bytes:
        content: bytes = ray.get(self._content)
        return content


def _plan(job: Job, shards: Sequence[Shard], pools: PoolPlan) -> Dataset:
    """One linear plan: every row passes both experts, each of which touches only its own crops.

    Branching by expert would run the shared upstream once for each branch.
    """
    config, size, experts = job.config, job.config.output_size, job.config.active_experts
    rows: Dataset = ray.data.from_arrow([to_table([ShardWork(shard)]) for shard in shards])
    add = partial(_through, most=len(shards), part_seconds=config.pools.seconds_for(config.shard_seconds))
    identity = InObjectStore(find_weights(IDENTITY).path) if config.gates_identity else None
    detector = (job.store, config.detection, config.routing, size, experts, identity, config.steadying)
    rows = add(rows, FaceDetector, pools.detectors, detector, on_device=True)
    for expert, pool in ((Decision.EXPERT_F, pools.experts_f), (Decision.EXPERT_T, pools.experts_t)):
        if expert in experts:
            restorer = (expert, size, job.experts[expert], identity, config.steadying)
            rows = add(rows, ExpertRestorer, pool, restorer, on_device=True)
    compositor = (job.store, job.area, size, config.encode, config.variants, config.blend)
    return add(rows, FrameCompositor, pools.compositors, compositor, on_device=False)


def _through(
    rows: Dataset,
    stage: type,
    pool: Pool,
    arguments: tuple[Any, ...],
    *,
    most: int,
    part_seconds: float,
    on_device: bool,
) -> Dataset:
    """Add a stage run by `pool`, of no more actors than the `most` rows there are to begin with."""
    keywords: dict[str, Any] = {"threads": pool.threads, "part_seconds": part_seconds}
    if on_device:
        keywords["device"] = pool.device
    with warnings.catch_warnings():
        # Ray 2.60 names no other way to bound the retries of an actor's task, which are endless by default.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return rows.map_batches(
            stage,
            batch_size=1,
            batch_format="pyarrow",
            # One shard at a time: what waits in an actor that another shard kills loses a try with each death.
            compute=ActorPoolStrategy(size=min(pool.size, most), max_tasks_in_flight_per_actor=1),
            fn_constructor_args=arguments,
            fn_constructor_kwargs=keywords,
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus,
            max_restarts=-1,
            max_task_retries=patience.RETRIES,
        )
