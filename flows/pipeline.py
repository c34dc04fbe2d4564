"""The four pools as one Ray Data plan: shards in, receipts out."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import ray.data
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.data.exceptions import ExecutionTimeoutError, SystemException
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning

from actors.expert_restorer import ExpertRestorer
from actors.face_detector import FaceDetector
from actors.frame_compositor import FrameCompositor
from actors.routing import Decision
from actors.work import ShardWork, to_table
from flows.job import Job
from flows.pools import Pool, PoolPlan
from storage.errors import FacemillError, explain
from storage.receipts import Receipt
from storage.shards import Shard

_RETRIES = 3
"""Repetitions of a shard whose actor died, before the shard is given up; the actor itself is always restarted."""


def set_ray_data_context(shard_timeout: float) -> None:
    """Ray Data's settings for a job, in place before its first execution.

    Args:
        shard_timeout: seconds after which a worker that has not done a shard is ended.
    """
    context = DataContext.get_current()
    # A row that kills its worker every time is missing afterwards, which the ledger notices; it does not end the job.
    context.max_errored_blocks = -1
    # The last resort: every worker of a shard that hangs is ended before.
    context.execution_no_progress_timeout_s = (_RETRIES + 2) * shard_timeout
    # One row a block: rows of one task would be merged up to this many bytes, and moved and lost together.
    context.target_max_block_size = 1


def receipts(job: Job, shards: Sequence[Shard], pools: PoolPlan) -> Generator[Receipt, None, None]:
    """Run the pools over the shards; receipts come as they are done, in any order.

    Raises:
        FacemillError: Ray gave the whole job up.
    """
    if not shards:
        return
    try:
        for row in _plan(job, shards, pools).iter_rows():
            yield Receipt.from_json(row["receipt"])
    except (RayError, ExecutionTimeoutError, SystemException) as error:
        raise FacemillError(f"Ray gave the job up ({explain(error)[:500]}). Run the same command again") from error


def _plan(job: Job, shards: Sequence[Shard], pools: PoolPlan) -> Dataset:
    """One linear plan: every row passes both experts, each of which touches only its own crops.

    Branching by expert would run the shared upstream once for each branch.
    """
    config, size, experts = job.config, job.config.output_size, job.config.active_experts
    rows: Dataset = ray.data.from_arrow([to_table([ShardWork(shard)]) for shard in shards])
    add = partial(_through, most=len(shards), part_seconds=config.pools.seconds_for(config.shard_seconds))
    detector = (job.store, config.detection, config.routing, size, experts)
    rows = add(rows, FaceDetector, pools.detectors, detector, on_device=True)
    for expert, pool in ((Decision.EXPERT_F, pools.experts_f), (Decision.EXPERT_T, pools.experts_t)):
        if expert in experts:
            rows = add(rows, ExpertRestorer, pool, (expert, size, job.experts[expert]), on_device=True)
    compositor = (job.store, job.area, size, config.encode, config.variants)
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
            compute=ActorPoolStrategy(size=min(pool.size, most), max_tasks_in_flight_per_actor=2),
            fn_constructor_args=arguments,
            fn_constructor_kwargs=keywords,
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus,
            max_restarts=-1,
            max_task_retries=_RETRIES,
        )
