"""Results of other jobs of the same destination, settings and weights, taken over instead of made again.

A job is named by all of its sources, so a folder that has grown makes another job. A video that such a job has done and
that is the same in this one is done here, too, once its rows are here:

    1. its rows of `faces` and `shards`     a crash after it leaves rows that no record names
    2. its row of `videos`                  a video that is done in both jobs

Its result stays as it is. Both jobs tell of it, and each has the whole account of its own sources.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from storage.catalogue import Source
from storage.finishing import finished_row
from storage.job_record import read_job_record
from storage.job_status import is_done
from storage.receipts import WorkArea
from storage.redoing import being_redone
from storage.requests import answer_each
from storage.store import Store, join

JOBS_LOOKED_AT = 30
"""Of the jobs of a destination with the same settings and weights, those begun last. One that is run every night has
everything in the last of them."""

_RECORDS_READ = 300
"""Of all jobs, those begun last: a record names every source, and is read to tell what a job's settings are."""


@dataclass(frozen=True)
class DoneElsewhere:
    """A video that another job has done in the same way, its result in place."""

    source: Source
    area: WorkArea
    """Of that job."""


def done_elsewhere(
    area: WorkArea,
    out: str,
    sources: Sequence[Source],
    settings: Mapping[str, Any],
    weights: Mapping[str, str],
    store: Store,
) -> list[DoneElsewhere]:
    """Those of `sources` that another job of the destination has done in the same way; nothing is written.

    Args:
        area: of the job that asks.
        sources: that it has not done and does not make again.
        settings: those that results depend on, as the job's record tells them.
        weights: name of each set of weights -> its sha256.
    """
    left = list(sources)
    found: list[DoneElsewhere] = []
    for other in _alike(area, out, settings, weights, store):
        on_record = frozenset(store.list_files(other.all_parts("videos"))) | being_redone(other, store)
        recorded = [source for source in left if is_done(source, other, on_record)]
        in_place = answer_each(partial(_stands, other, out, store), recorded)
        done = {source for source, stands in zip(recorded, in_place, strict=True) if stands}
        found += [DoneElsewhere(source, other) for source in recorded if source in done]
        left = [source for source in left if source not in done]
        if not left:
            break
    return found


def _stands(area: WorkArea, out: str, store: Store, source: Source) -> bool:
    return finished_row(area, out, source, store) is not None


def take_over(area: WorkArea, found: Sequence[DoneElsewhere], store: Store) -> int:
    """Make what was found done in this job, too, which is on record already; returns how many it has taken.

    A video whose rows the other job has given up meanwhile is not taken.
    """
    return sum(answer_each(partial(_bring, area, store), found))


def _bring(area: WorkArea, store: Store, done: DoneElsewhere) -> bool:
    try:
        for table in ("faces", "shards", "videos"):
            with (
                store.local_copy(done.area.parts(done.source, table)) as rows,
                store.staged(area.parts(done.source, table)) as copy,
            ):
                shutil.copyfile(rows, copy)
    except FileNotFoundError:
        return False
    return True


def _alike(
    area: WorkArea, out: str, settings: Mapping[str, Any], weights: Mapping[str, str], store: Store
) -> Iterator[WorkArea]:
    """Other jobs that make the same of a video, the one begun last first."""
    others = [WorkArea(folder) for folder in store.list_folders(join(out, "_facemill")) if folder != area.url]
    begun = answer_each(lambda other: store.modified(other.job_record), others)
    dated = sorted(
        ((when, other) for when, other in zip(begun, others, strict=True) if when is not None),
        key=lambda each: each[0],
        reverse=True,
    )
    alike = 0
    for _, other in dated[:_RECORDS_READ]:
        record = read_job_record(other, store)
        if record is not None and (record.settings, record.weights) == (settings, weights):
            yield other
            alike += 1
            if alike == JOBS_LOOKED_AT:
                return
