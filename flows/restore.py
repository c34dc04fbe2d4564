"""The restore job: sources -> probe -> shards -> detector, expert, compositor pools -> receipts -> videos."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, suppress

import ray
from botocore.exceptions import ClientError
from rich.console import Console

from flows.cluster import ray_session
from flows.config import JobConfig
from flows.driver import Driver, Outcome
from flows.job import Job, open_job
from flows.ledger import Ledger
from flows.models import check_models
from flows.pipeline import receipts, set_ray_data_context
from flows.planning import plan_videos
from flows.pools import plan_pools
from flows.progress import JobProgress, step
from storage.catalogue import Source
from storage.errors import DestinationError, explain
from storage.finishing import is_finished
from storage.manifest import join_tables, tables_are_joined
from storage.receipts import read_receipts
from storage.store import storage_errors_as
from storage.words import counted


def restore(config: JobConfig, console: Console) -> tuple[Job, Outcome]:
    """Run a job to its end, or take it up where an earlier run of the same job stopped.

    Raises:
        FacemillError: the job as a whole cannot run; a video that cannot be restored is in the outcome instead.
        WeightsError: an expert that is asked for has no usable weights.
    """
    job = open_job(config)
    outcome = Outcome()
    with storage_errors_as(DestinationError, job.out):
        pending = _without_finished(job, outcome)
        if pending:
            with ExitStack() as session:
                with _starting(config.ray_address, console):
                    session.enter_context(ray_session(config.ray_address))
                to_do = f"{len(pending)} of {counted(len(job.sources), 'video')} to do"
                console.print(f"job {job.name}: {to_do}", highlight=False)
                _run(job, pending, outcome, console)
        if pending or not tables_are_joined(job.area, job.store):
            _clear_work(job, outcome, console)
            join_tables(job.area, job.sources, job.store)
    return job, outcome


def _clear_work(job: Job, outcome: Outcome, console: Console) -> None:
    """Remove what killed processes left among the working objects; what failed videos have is their next run's."""
    try:
        if not outcome.failed:
            job.store.remove(job.store.list_files(job.area.work))
        job.store.remove_empty_folders(job.area.work)
    except (OSError, ClientError) as error:  # costs space, not the job
        told = f"the working files in {job.area.work} could not be removed ({explain(error)})"
        console.print(told, markup=False, highlight=False, soft_wrap=True)


def _starting(ray_address: str | None, console: Console) -> AbstractContextManager[object]:
    if ray_address is None:
        return step(console, "starting Ray on this machine")
    return console.status(f"joining the cluster at {ray_address}")  # quick, or an error that is told in one line


def _without_finished(job: Job, outcome: Outcome) -> list[Source]:
    """The sources that have no finished result yet; the others are entered in the outcome."""
    pending = []
    with suppress(FileNotFoundError):
        job.store.identity(
            job.area.url
        )  # a file where the record's folder belongs is an error; a listing is only empty
    recorded = frozenset(job.store.list_files(job.area.all_parts("videos")))  # one listing, not a request a source
    for source in job.sources:
        if job.area.parts(source, "videos") in recorded and is_finished(job.area, job.out, source, job.store):
            outcome.done.append(source.relative_path)
        else:
            pending.append(source)
    return pending


def _run(job: Job, sources: list[Source], outcome: Outcome, console: Console) -> None:
    """Plan, leave out what is there, and drive the pools until every video is decided."""
    set_ray_data_context(job.config.pools.seconds_for(job.config.shard_seconds))
    if any(weights.model is not None for weights in job.experts.values()):
        with step(console, "loading the models that take an expert's place"):
            check_models(job)
    resources = ray.cluster_resources()
    pools = plan_pools(resources.get("CPU", 1), resources.get("GPU", 0), job.config.pools)
    with step(console, f"probing {counted(len(sources), 'video')}: every packet is read once"):
        plans, unusable = plan_videos(job, sources)
    ledger = Ledger(plans)
    for receipt in read_receipts(job.area, [plan.source for plan in plans], job.store):
        ledger.add(receipt)
    missing = {plan.key: ledger.missing(plan.key) for plan in plans}
    todo = [shard for shards in missing.values() for shard in shards]
    progress = JobProgress(
        console,
        videos=len(job.sources),
        shards=len(todo),
        frames=sum(plan.expected_frames(len(missing[plan.key])) for plan in plans),
        done_before=len(outcome.done),
    )
    with progress:
        driver = Driver(job, ledger, outcome, progress)
        for source, reason in unusable:
            driver.give_up(source, reason)
        for plan in plans:
            if not missing[plan.key]:
                driver.start_finishing(plan)
        for receipt in receipts(job, todo, pools):
            driver.take(receipt)
        driver.end()
