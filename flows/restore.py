"""The restore job: sources -> probe -> shards -> detector, expert, compositor pools -> receipts -> videos."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta

import ray
from botocore.exceptions import ClientError
from rich.console import Console

from flows.cluster import ray_session
from flows.config import JobConfig
from flows.driver import Driver, FirstFailureError, Outcome
from flows.job import Job, open_job
from flows.ledger import Ledger
from flows.models import check_models
from flows.pipeline import receipts, set_ray_data_context
from flows.planning import plan_videos
from flows.pools import plan_pools
from flows.progress import JobProgress, step
from storage.catalogue import Source
from storage.cleaning import clear_work, find_own_waste, remove
from storage.errors import DestinationError, explain
from storage.failures import read_failures
from storage.finishing import finished_row, variant_path
from storage.job_record import commit_job_record
from storage.manifest import join_tables, tables_are_joined
from storage.receipts import read_receipts
from storage.redoing import begin_again, being_redone, mark_again
from storage.storage_errors import storage_errors_as
from storage.words import counted

_ABANDONED_AFTER = timedelta(days=1)
"""An upload to the name of a result: until then it may be another job's."""


def restore(config: JobConfig, console: Console) -> tuple[Job, Outcome]:
    """Run a job to its end, or take it up where an earlier run of the same job stopped.

    Raises:
        FacemillError: the job as a whole cannot run; a video that cannot be restored is in the outcome instead.
        WeightsError: an expert that is asked for has no usable weights.
    """
    job = open_job(config)
    outcome = Outcome()
    with storage_errors_as(DestinationError, job.out):
        commit_job_record(job.area, job.name, job.sources, config.told(), dict(job.weights), job.store)
        if config.force:
            begin_again(job.area, job.sources, job.store)
        pending, finished = _without_finished(job, outcome)
        pending = _without_unusable(job, pending, outcome, console)
        if pending:
            with ExitStack() as session:
                with _starting(config.ray_address, console):
                    session.enter_context(ray_session(config.ray_address))
                to_do = f"{len(pending)} of {counted(len(job.sources), 'video')} to do"
                console.print(f"job {job.name}: {to_do}", highlight=False)
                with suppress(FirstFailureError):
                    _run(job, pending, finished, outcome, console)
        if pending or not tables_are_joined(job.area, job.store):
            _clear_work(job, outcome, console)
            failures = {key: failure.reason for key, failure in read_failures(job.area, job.store).items()}
            join_tables(job.area, job.sources, failures, job.store)
    return job, outcome


def _clear_work(job: Job, outcome: Outcome, console: Console) -> None:
    """Remove what killed processes left among the working objects; what failed videos have is their next run's."""
    try:
        if not outcome.failed:
            clear_work(job.area, job.store)
        job.store.remove_empty_folders(job.area.work)
        done = set(outcome.done)
        sources = [source for source in job.sources if source.relative_path in done]
        for waste in find_own_waste(job.area, job.out, sources, job.store, before=datetime.now(UTC) - _ABANDONED_AFTER):
            remove(waste, job.store)
    except (OSError, ClientError) as error:  # costs space, not the job
        told = f"what is left of finished videos could not all be removed from {job.out} ({explain(error)})"
        console.print(told, markup=False, highlight=False, soft_wrap=True)


def _starting(ray_address: str | None, console: Console) -> AbstractContextManager[object]:
    if ray_address is None:
        return step(console, "starting Ray on this machine")
    return console.status(f"joining the cluster at {ray_address}")  # quick, or an error that is told in one line


def _without_finished(job: Job, outcome: Outcome) -> tuple[list[Source], dict[str, str]]:
    """The sources that have no finished result, and the others' results; these are entered in the outcome.

    Those that have a record, but not the result that it tells of, are marked to be made again.

    Returns:
        Sources; path of each result below the destination -> path of its source.
    """
    area, store = job.area, job.store
    pending: list[Source] = []
    results: dict[str, str] = {}
    recorded = frozenset(store.list_files(area.all_parts("videos")))  # one listing, not a request a source
    redone = being_redone(area, store)
    for source in job.sources:
        is_recorded = area.parts(source, "videos") in recorded and area.redo(source) not in redone
        row = finished_row(area, job.out, source, store) if is_recorded else None
        if row is None:
            if is_recorded:
                mark_again(area, source, store)
            pending.append(source)
        else:
            outcome.done.append(source.relative_path)
            results |= {variant_path(row["output"], each): source.relative_path for each in job.config.variants}
    return pending, results


def _without_unusable(job: Job, sources: list[Source], outcome: Outcome, console: Console) -> list[Source]:
    """The sources that are to be tried; those that an earlier run found unusable are entered in the outcome.

    Whatever failed for another reason than its source is tried by every run.
    """
    if job.config.retry_failed or not sources:
        return sources
    failures = read_failures(job.area, job.store)
    left_alone = [source for source in sources if source.key in failures and failures[source.key].of_source]
    for source in left_alone:
        reason = failures[source.key].reason
        outcome.failed[source.relative_path] = reason
        outcome.left_alone.append(source.relative_path)
        console.print(f"failed before: {source.relative_path}: {reason}", markup=False, highlight=False, soft_wrap=True)
    return [source for source in sources if source.relative_path not in outcome.failed]


def _run(job: Job, sources: list[Source], finished: Mapping[str, str], outcome: Outcome, console: Console) -> None:
    """Plan, leave out what is there, and drive the pools until every video is decided."""
    set_ray_data_context()
    if any(weights.model is not None for weights in job.experts.values()):
        with step(console, "loading the models that take an expert's place"):
            check_models(job)
    resources = ray.cluster_resources()
    pools = plan_pools(resources.get("CPU", 1), resources.get("GPU", 0), job.config.pools)
    with step(console, f"probing {counted(len(sources), 'video')}: every packet is read once"):
        plans, unusable = plan_videos(job, sources, finished)
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
        failed_before=len(outcome.failed),
    )
    with progress:
        driver = Driver(job, ledger, outcome, progress)
        for source, failure in unusable:
            driver.give_up(source, failure)
        for plan in plans:
            if not missing[plan.key]:
                driver.start_finishing(plan)
        with closing(receipts(job, todo, pools)) as arriving:
            for receipt in arriving:
                driver.take(receipt)
        driver.end()
