"""The restore job: sources -> probe -> shards -> detector, expert, compositor pools -> receipts -> videos."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, closing, suppress
from datetime import timedelta

from botocore.exceptions import ClientError
from rich.console import Console

from flows.cluster import ray_session, resources_here
from flows.config import JobConfig
from flows.driver import Driver, FirstFailureError, Outcome
from flows.job import IDENTITY, Job, open_job
from flows.ledger import Ledger
from flows.models import check_models_here, check_models_on_the_cluster, models_given
from flows.pipeline import set_ray_data_context
from flows.planning import plan_videos
from flows.pools import PoolPlan, require_place
from flows.progress import JobProgress
from flows.resuming import Standing, begin, done_of, put_on_record, standing_of, take_over_done
from flows.rounds import pools_of_the_cluster, receipts_in_rounds
from flows.steps import say, step
from storage.cleaning import clear_work, find_own_waste, remove
from storage.errors import DestinationError, NoRoomError, explain
from storage.failures import read_failures
from storage.manifest import join_tables, tables_are_joined
from storage.receipts import read_receipts
from storage.storage_errors import storage_errors_as
from storage.words import counted
from weights import WeightsError, entry_of
from weights.fetching import fetch_weights

_ABANDONED_AFTER = timedelta(days=1)
"""An upload to the name of a result: until then it may be another job's."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what a person should know of the job as its text."""


def restore(config: JobConfig, console: Console) -> tuple[Job, Outcome]:
    """Run a job to its end, or take it up where an earlier run of the same job stopped.

    Raises:
        FacemillError: the job as a whole cannot run; a video that cannot be restored is in the outcome instead.
        WeightsError: an expert that is asked for has no usable weights.
        Interrupted: by Ctrl-C, once the job has begun.
    """
    outcome = Outcome()
    with step(console, "looking for videos", at_once=False):
        job = open_job(config)
    if job.hidden:
        told = f"passed over {counted(len(job.hidden), 'hidden file')}, such as {job.hidden[0]}"
        say(console, f"{told}: one that is to be restored must be named itself")
    if job.sound:
        say(console, f"passed over {counted(len(job.sound), 'file')} of sound alone, such as {job.sound[0]}")
    looking = step(console, "looking at what earlier runs have done", at_once=False)
    with storage_errors_as(DestinationError, job.out), looking:
        standing = standing_of(job, outcome)
        if standing.pending and (taken := take_over_done(job, standing)):
            say(console, f"{counted(taken, 'video')} done by an earlier job with the same settings: not done again")
            outcome = Outcome()
            standing = standing_of(job, outcome)
    if standing.pending:
        try:
            _run(job, standing, outcome, console)
        except KeyboardInterrupt:
            with suppress(OSError, ClientError):  # what lies there says more than what came in before the interruption
                outcome.done = done_of(job)
            done = f"{len(outcome.done)} of {counted(len(job.sources), 'video')} done"
            raise Interrupted(f"{done}; finished videos and shards are kept") from None
    with storage_errors_as(DestinationError, job.out):
        if not standing.pending:
            put_on_record(job)
        if standing.pending or not tables_are_joined(job.area, job.store):
            with step(console, "joining the tables of the manifest", at_once=False):
                _clear_work(job, outcome, console)
                failures = {key: failure.reason for key, failure in read_failures(job.area, job.store).items()}
                join_tables(job.area, job.sources, failures, job.store)
    return job, outcome


def _bring_identity_weights(console: Console) -> None:
    """Fetch what the identity gate measures with, unless it is here and whole."""
    entry = entry_of(IDENTITY)
    told = f"fetching {entry.name}, {(entry.size or 0) / 1e6:.0f} MB, by which the identity gate tells people apart"
    try:
        with step(console, told, at_once=not entry.path.is_file()):
            fetch_weights(entry)
    except WeightsError as error:
        raise WeightsError(f"{error}. Or do without the identity gate: --no-identity-gate") from error


def _run(job: Job, standing: Standing, outcome: Outcome, console: Console) -> None:
    """See that the job can run, as far as possible before Ray is started, and only then begin it."""
    config = job.config
    models = models_given(job)
    loading = "loading the models that take an expert's place"
    if config.ray_address is None:
        require_place(*resources_here(), config.pools)
    if config.gates_identity:
        _bring_identity_weights(console)
    if models and config.ray_address is None:
        with step(console, loading):
            check_models_here(models)
    with ExitStack() as session:
        with _starting(config.ray_address, console):
            session.enter_context(ray_session(config.ray_address))
        set_ray_data_context()
        pools = pools_of_the_cluster(config.pools)
        if models and config.ray_address is not None:
            with step(console, loading):
                check_models_on_the_cluster(models)
        with step(console, "putting the job on record; a run that forgets it by --force is waited for", at_once=False):
            session.enter_context(begin(job, standing))
        to_do = f"{len(standing.pending)} of {counted(len(job.sources), 'video')} to do"
        console.print(f"job {job.name}: {to_do}", highlight=False)
        with suppress(FirstFailureError):
            _drive(job, standing, pools, outcome, console)


def _starting(ray_address: str | None, console: Console) -> AbstractContextManager[object]:
    if ray_address is None:
        return step(console, "starting Ray on this machine")
    # Quick, or an error that is told in one line.
    return step(console, f"joining the cluster at {ray_address}", at_once=False)


def _drive(job: Job, standing: Standing, pools: PoolPlan, outcome: Outcome, console: Console) -> None:
    """Plan, leave out what is there, and drive the pools until every video is decided."""
    sources = standing.pending
    with step(console, f"probing {counted(len(sources), 'video')}: every packet is read once") as probing:
        plans, unusable = plan_videos(job, sources, standing.finished, probing)
    ledger = Ledger(plans)
    with storage_errors_as(DestinationError, job.out), step(console, "reading which shards are done", at_once=False):
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
        try:
            for source, failure in unusable:
                driver.give_up(source, failure)
            for plan in plans:
                if not missing[plan.key]:
                    driver.start_finishing(plan)
            with closing(receipts_in_rounds(job, todo, ledger, pools, console)) as arriving:
                for receipt in arriving:
                    driver.take(receipt)
            driver.end()
        except NoRoomError:
            driver.let_assembling_end()
            raise


def _clear_work(job: Job, outcome: Outcome, console: Console) -> None:
    """Remove what killed processes left among the working objects; what failed videos have is their next run's."""
    try:
        if not outcome.failed:
            clear_work(job.area, job.store)
        job.store.remove_empty_folders(job.area.work)
        done = set(outcome.done)
        sources = [source for source in job.sources if source.relative_path in done]
        before = job.store.now(job.out) - _ABANDONED_AFTER
        for waste in find_own_waste(job.area, job.out, sources, job.store, before=before):
            remove(waste, job.store)
    except (OSError, ClientError) as error:  # costs space, not the job
        say(console, f"what is left of finished videos could not all be removed from {job.out} ({explain(error)})")
