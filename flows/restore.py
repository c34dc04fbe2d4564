"""The restore job: sources -> probe -> shards -> detector, expert, compositor pools -> receipts -> videos."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.util.annotations import RayDeprecationWarning
from rich.console import Console

from actors.expert_restorer import ExpertRestorer
from actors.face_detector import FaceDetector
from actors.frame_compositor import FrameCompositor
from actors.routing import Decision
from actors.work import ShardWork, to_table
from flows.cluster import ray_session
from flows.config import JobConfig
from flows.finishing import finish_remotely
from flows.ledger import Ledger, VideoPlan
from flows.planning import plan_videos
from flows.pools import Pool, PoolPlan, plan_pools
from flows.progress import JobProgress
from storage.catalogue import Source, find_sources
from storage.errors import UsageError, explain
from storage.finishing import FinishingOrder, output_path
from storage.manifest import commit_part, failed_video_row, join_tables, read_video_row
from storage.receipts import Receipt, WorkArea, read_receipts
from storage.store import Store, is_remote, join
from weights.registry import find_weights, verify_weights

_RETRIES = 3
"""Repetitions of a shard whose actor died, before the shard is given up; the actor itself is always restarted."""

_NO_PROGRESS_SECONDS = 1800
"""Longest time in which the slowest plausible shard must have moved on by one stage."""


@dataclass
class JobOutcome:
    """How a job ended."""

    job: str
    area: WorkArea
    done: list[str] = field(default_factory=list)
    """Relative paths of the sources that are finished, now or in an earlier run."""
    failed: dict[str, str] = field(default_factory=dict)
    """Relative path -> reason."""
    frames: int = 0
    """Restored in this run."""


def restore(config: JobConfig, console: Console) -> JobOutcome:
    """Run a job to its end, or take it up where an earlier run of the same job stopped.

    Raises:
        FacemillError: the job as a whole cannot run; a video that cannot be restored is in the outcome instead.
    """
    store = Store(config.s3_endpoint)
    sources = find_sources(config.sources, store)
    out = _checked_destination(config, sources, store)
    weights = {expert.value: _verified_sha256(expert) for expert in sorted(config.active_experts)}
    job = config.job_id(sources, weights)
    area = WorkArea(join(out, "_facemill", job))
    outcome = JobOutcome(job, area)
    pending = _without_finished(sources, area, out, store, outcome)
    if pending:
        console.print(f"job {job}: {len(pending)} of {len(sources)} videos to do; starting Ray", highlight=False)
        with ray_session(config.ray_address):
            _run(config, pending, area, out, weights, store, outcome, console)
        join_tables(area, sources, store)
    return outcome


def _checked_destination(config: JobConfig, sources: Sequence[Source], store: Store) -> str:
    """`--out` as an absolute path or URL, known to take files and not to lie where sources are searched."""
    out = config.out if is_remote(config.out) else store.filesystem(config.out)[1]
    for given in config.sources:
        folder = given if is_remote(given) else store.filesystem(given)[1]
        if f"{out.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/"):
            raise UsageError(f"--out {config.out} lies inside the source {given}. Choose a folder outside of it")
    taken = {source.url for source in sources}
    for source in sources:
        if join(out, source.relative_path) in taken:
            raise UsageError(f"--out {config.out} would write over the source {source.url}. Choose another folder")
    store.check_writable(out)
    return out


def _verified_sha256(expert: Decision) -> str:
    entry = find_weights(expert.value)
    verify_weights(entry)
    return entry.sha256


def _without_finished(
    sources: Sequence[Source], area: WorkArea, out: str, store: Store, outcome: JobOutcome
) -> list[Source]:
    """The sources that have no finished result yet; the others are entered in the outcome."""
    pending = []
    for source in sources:
        row = read_video_row(area, source, store)
        if row is not None and row["status"] == "done" and store.exists(join(out, row["output"])):
            outcome.done.append(source.relative_path)
        else:
            pending.append(source)
    return pending


def _run(
    config: JobConfig,
    sources: Sequence[Source],
    area: WorkArea,
    out: str,
    weights: Mapping[str, str],
    store: Store,
    outcome: JobOutcome,
    console: Console,
) -> None:
    resources = ray.cluster_resources()
    pools = plan_pools(resources.get("CPU", 1), resources.get("GPU", 0), config.pools)
    plans, unusable = plan_videos(config, sources, store)
    ledger = Ledger(plans)
    done_before = len(outcome.done)
    for plan in plans:
        for receipt in read_receipts(area, plan.shards[0].source, store):
            ledger.add(receipt)
    missing = {plan.key: ledger.missing(plan.key) for plan in plans}
    todo = [shard for shards in missing.values() for shard in shards]
    progress = JobProgress(
        console,
        videos=len(plans) + len(unusable) + done_before,
        shards=len(todo),
        frames=sum(plan.expected_frames(len(missing[plan.key])) for plan in plans),
        done_before=done_before,
    )
    with progress:
        job = _Run(config, area, out, weights, store, outcome, ledger, progress)
        for source, reason in unusable:
            job.give_up(source, reason)
        for plan in plans:
            if ledger.complete(plan.key) is not None:
                job.start_finishing(plan)
        for receipt in _receipts(config, [ShardWork(shard) for shard in todo], area, pools, store):
            job.take(receipt)
        job.end()


def _receipts(
    config: JobConfig, work: Sequence[ShardWork], area: WorkArea, pools: PoolPlan, store: Store
) -> Iterator[Receipt]:
    """Run the pools over the shards; receipts come as they are done, in any order."""
    if not work:
        return
    for row in _pipeline(config, work, area, pools, store).iter_rows():
        yield Receipt.from_json(row["receipt"])


def _pipeline(config: JobConfig, work: Sequence[ShardWork], area: WorkArea, pools: PoolPlan, store: Store) -> Dataset:
    """One linear plan: every row passes both experts, each of which touches only its own crops.

    Branching by expert would run the shared upstream once for each branch. One row is one block, so that blocks are
    what pools share out and what is lost with a worker.
    """
    context = DataContext.get_current()
    context.execution_no_progress_timeout_s = _NO_PROGRESS_SECONDS
    # A shard that kills its actor every time is missing from the ledger; it does not end the job.
    context.max_errored_blocks = -1
    size, experts = config.output_size, config.active_experts
    rows: Dataset = ray.data.from_arrow([to_table([item]) for item in work])
    add = partial(_through, most=len(work))
    detector = (store, config.detection, config.routing, size, experts)
    rows = add(rows, FaceDetector, pools.detectors, detector, on_device=True)
    if Decision.EXPERT_F in experts:
        rows = add(rows, ExpertRestorer, pools.experts_f, (Decision.EXPERT_F, size), on_device=True)
    if Decision.EXPERT_T in experts:
        rows = add(rows, ExpertRestorer, pools.experts_t, (Decision.EXPERT_T, size), on_device=True)
    compositor = (store, area, size, config.encode, config.variants)
    return add(rows, FrameCompositor, pools.compositors, compositor, on_device=False)


def _through(
    rows: Dataset, stage: type, pool: Pool, arguments: tuple[Any, ...], *, most: int, on_device: bool
) -> Dataset:
    """Add a stage run by `pool`, of no more actors than the `most` rows there are to begin with."""
    keywords: dict[str, Any] = {"threads": pool.threads}
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


class _Run:
    """The driver's side of a run: receipts in, assemble tasks out, outcome and progress kept."""

    def __init__(
        self,
        config: JobConfig,
        area: WorkArea,
        out: str,
        weights: Mapping[str, str],
        store: Store,
        outcome: JobOutcome,
        ledger: Ledger,
        progress: JobProgress,
    ) -> None:
        self._config, self._area, self._out, self._weights = config, area, out, weights
        self._store, self._outcome, self._ledger, self._progress = store, outcome, ledger, progress
        self._assembling: dict[ray.ObjectRef, VideoPlan] = {}

    def take(self, receipt: Receipt) -> None:
        """Enter a receipt and act on what it decides."""
        self._progress.shard_done(receipt)
        self._outcome.frames += receipt.frames
        plan = self._ledger.add(receipt)
        if plan is not None:
            if reason := self._ledger.failure(plan.key):
                self.give_up(plan.shards[0].source, reason)
            else:
                self.start_finishing(plan)
        self._collect(timeout=0)

    def start_finishing(self, plan: VideoPlan) -> None:
        """Submit the assemble task of a complete video."""
        receipts = self._ledger.complete(plan.key)
        assert receipts is not None
        order = FinishingOrder(
            area=self._area,
            out=self._out,
            shard=plan.shards[0],
            receipts=tuple(receipts),
            picture=plan.picture,
            choice=plan.choice,
            codec=self._config.codec,
            variants=self._config.variants,
            weights=tuple(self._weights.items()),
        )
        self._assembling[finish_remotely.remote(order, self._store)] = plan

    def give_up(self, source: Source, reason: str) -> None:
        """Put a video that cannot be restored on record."""
        commit_part(self._area, source, "videos", [failed_video_row(source, reason)], self._store)
        self._outcome.failed[source.relative_path] = reason
        self._progress.video_failed(source.relative_path, reason)

    def end(self) -> None:
        """Wait for the assemble tasks, and account for every video that is still undecided."""
        while self._assembling:
            self._collect(timeout=1)
        for plan in self._ledger.undecided():
            self.give_up(plan.shards[0].source, "some of its shards gave no receipt. Run the same command again")

    def _collect(self, timeout: float) -> None:
        if not self._assembling:
            return
        ready, _ = ray.wait(list(self._assembling), num_returns=len(self._assembling), timeout=timeout)
        for reference in ready:
            plan = self._assembling.pop(reference)
            source = plan.shards[0].source
            reason = _reason_of(reference)
            if reason:
                self.give_up(source, reason)
            else:
                self._outcome.done.append(source.relative_path)
                self._progress.video_done(f"{source.relative_path} -> {output_path(plan.choice, 'restored')}")


def _reason_of(reference: ray.ObjectRef) -> str:
    try:
        return str(ray.get(reference))
    except ray.exceptions.RayError as error:
        return f"assembling it failed: {explain(error)}"
