"""What earlier runs of a job have left for this one, and the beginning of its own writing.

Nothing is written before everything that may keep the job from running has been looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flows.driver import Outcome
from flows.job import Job
from storage.catalogue import Source
from storage.errors import DestinationError
from storage.failures import read_failures
from storage.finishing import finished_row, variant_path
from storage.job_record import commit_job_record
from storage.job_status import is_done
from storage.redoing import begin_again, being_redone, mark_again
from storage.run_lock import run_lock
from storage.storage_errors import storage_errors_as
from storage.taking_over import done_elsewhere, take_over


@dataclass(frozen=True)
class Standing:
    """How far a job has come."""

    pending: tuple[Source, ...]
    """To be tried by this run."""
    lost: tuple[Source, ...]
    """Of these, those on record as done whose result is not in place any more."""
    finished: dict[str, str]
    """Path of each result below the destination -> path of its source."""


def standing_of(job: Job, outcome: Outcome) -> Standing:
    """Look at what there is; what is done, and what is left alone, is entered in the outcome.

    A video is left alone that failed for what is still so: its source is unusable, its result would be another's. What
    failed for another reason is tried by every run.
    """
    if job.config.force:
        return Standing(job.sources, (), {})
    area, store = job.area, job.store
    on_record = _on_record(job)
    failures = {} if job.config.retry_failed else read_failures(area, store)
    pending: list[Source] = []
    lost: list[Source] = []
    finished: dict[str, str] = {}
    for source in job.sources:
        is_recorded = is_done(source, area, on_record)
        row = finished_row(area, job.out, source, store) if is_recorded else None
        if row is not None:
            outcome.done.append(source.relative_path)
            finished |= {variant_path(row["output"], each): source.relative_path for each in job.config.variants}
        elif source.key in failures and failures[source.key].of_source:
            outcome.failed[source.relative_path] = failures[source.key].reason
            outcome.left_alone.append(source.relative_path)
        else:
            pending.append(source)
            if is_recorded:
                lost.append(source)
    return Standing(tuple(pending), tuple(lost), finished)


def take_over_done(job: Job, standing: Standing) -> int:
    """Make done what another job of the destination has done in the same way; returns how many videos these are.

    Only where there is one is anything written. `--force` takes nothing over, nor is anything taken over that it has
    marked, or beside another run.
    """
    if job.config.force:
        return 0
    again = being_redone(job.area, job.store)
    sources = [each for each in standing.pending if each not in standing.lost and job.area.redo(each) not in again]
    settings = json.loads(json.dumps(job.config.told()))  # as they come back from a record
    found = done_elsewhere(job.area, job.out, sources, settings, dict(job.weights), job.store)
    if not found:
        return 0
    put_on_record(job)
    with run_lock(job.area) as lock:
        if not lock.try_alone():  # a run by `--force`, say, which has marked what was here to be made again
            return 0
        job.store.remove([job.area.abandoned])
        return take_over(job.area, found, job.store)


def done_of(job: Job) -> list[str]:
    """Relative paths of the sources that are on record as done, as `facemill status` tells them."""
    on_record = _on_record(job)
    return [source.relative_path for source in job.sources if is_done(source, job.area, on_record)]


def _on_record(job: Job) -> frozenset[str]:
    """What tells which videos are done, in two listings, not a request a source."""
    return frozenset(job.store.list_files(job.area.all_parts("videos"))) | being_redone(job.area, job.store)


def put_on_record(job: Job) -> None:
    """Put the job on record, unless it is there."""
    commit_job_record(job.area, job.name, job.sources, job.config.told(), dict(job.weights), job.store)


@contextmanager
def begin(job: Job, standing: Standing) -> Iterator[None]:
    """The job on record and its lock held for the time of the block; what is made again is marked.

    Raises:
        UsageError: with `--force`, and another run of the job is at work.
    """
    with storage_errors_as(DestinationError, job.out):
        put_on_record(job)
    with run_lock(job.area) as lock:
        with storage_errors_as(DestinationError, job.out):
            if job.config.force:
                lock.take_alone()
                begin_again(job.area, job.sources, job.store)
            lock.share()
            job.store.remove([job.area.abandoned])  # now that none gives it up any more
            for source in standing.lost:
                mark_again(job.area, source, job.store)
        yield
