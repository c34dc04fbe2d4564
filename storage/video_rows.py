"""What the records of a destination say of each video, of every job: those that have ended and those that still run.

The tables are joined when a job ends. Until then a video's rows are in parts, and after it those of videos that a later
run has finished or given up; so a part counts that is newer than the table, or speaks of what the table does not.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.catalogue import Source
from storage.failures import read_failures
from storage.finishing import variant_path
from storage.job_record import read_job_record
from storage.job_status import JobFolder, job_folders, recorded_sources
from storage.manifest import VIDEOS_SCHEMA, failed_row, from_parquet, read_video_part
from storage.receipts import VARIANTS
from storage.store import FileIdentity, Store, join


def read_video_rows(out: str, store: Store) -> list[dict[str, Any]]:
    """A row, with every column of the videos table, for each video that is done or has failed.

    Args:
        out: destination of any number of jobs.
    """
    return [row for folder in job_folders(out, store) for row in rows_of_job(folder, store)]


@dataclass(frozen=True)
class KnownResults:
    """What the jobs of a destination have on record as their results.

    Attributes:
        outputs: paths below the destination at which one is, was, or is about to be.
        made_again: `Source.key` of videos whose result is replaced, whatever is in its place.
    """

    outputs: frozenset[str] = frozenset()
    made_again: frozenset[str] = frozenset()


def known_results(out: str, store: Store) -> KnownResults:
    """Read the records of every job: those of videos that are done, made again, or were about to be done."""
    outputs: set[str] = set()
    made_again: set[str] = set()
    for folder in job_folders(out, store):
        done = [row["output"] for row in rows_of_job(folder, store) if row["status"] == "done"]
        outputs.update(variant_path(output, variant) for output in done for variant in VARIANTS)
        for file in folder.files:
            parent, name = posixpath.split(file.url)
            if parent == folder.area.redone:
                made_again.add(name)
            elif parent == folder.area.announcements:
                with suppress(FileNotFoundError):  # on record meanwhile, and removed
                    outputs.update(json.loads(store.read_bytes(file.url)))
    return KnownResults(frozenset(outputs), frozenset(made_again))


def lost_results(out: str, folder: JobFolder, sizes: Mapping[str, int], store: Store) -> list[str]:
    """Videos of a job that are done, but whose result is not in place any more, or of another size.

    Args:
        sizes: bytes of every file of the destination, by its URL.

    Returns:
        Paths of their sources relative to SRC, sorted.
    """
    done = [row for row in rows_of_job(folder, store) if row["status"] == "done"]
    return sorted(row["video"] for row in done if sizes.get(join(out, row["output"])) != row["output_size"])


def rows_of_job(folder: JobFolder, store: Store) -> list[dict[str, Any]]:
    """Of one job, one row a video: of a video that is done, the one of its result."""
    joined = {_key(row): row for row in _joined_rows(folder, store)}
    newer = {_key(row): row for row in _newer_parts(folder, joined, store)}
    done = {key: row for key, row in (joined | newer).items() if row["status"] == "done"}
    failed = {_key(row): row for row in _newer_failures(folder, joined, done.keys(), store)}
    return [dict.fromkeys(VIDEOS_SCHEMA.names) | row for row in (joined | failed | done).values()]


def _joined_rows(folder: JobFolder, store: Store) -> list[dict[str, Any]]:
    table = folder.area.table("videos")
    if table not in {file.url for file in folder.files}:
        return []
    return list(from_parquet(store.read_bytes(table)).to_pylist())


def _newer_parts(folder: JobFolder, joined: Mapping[str, dict[str, Any]], store: Store) -> Iterator[dict[str, Any]]:
    """Rows of videos that the table does not tell are done, or that were made since it was joined."""
    joined_at = _joined_at(folder)
    done = {key for key, row in joined.items() if row["status"] == "done"}
    for file in folder.files:
        parts, name = posixpath.split(file.url)
        is_record = parts == folder.area.all_parts("videos") and name.endswith(".parquet")
        if is_record and (joined_at is None or file.modified >= joined_at or name.removesuffix(".parquet") not in done):
            row = read_video_part(file.url, store)
            if row is not None:
                yield row


def _newer_failures(
    folder: JobFolder, joined: Collection[str], done: Collection[str], store: Store
) -> Iterator[dict[str, Any]]:
    """Rows of failures that the table does not tell, or tells by an older reason; the job's record has their sources.

    Args:
        joined: keys that the table has.
        done: keys of videos that are done, of which no failure is told.
    """
    joined_at = _joined_at(folder)
    wanted = set()
    for file in folder.files:
        parts, name = posixpath.split(file.url)
        key = name.removesuffix(".json")
        is_newer = key not in joined or joined_at is None or file.modified >= joined_at
        if parts == folder.area.failures and is_newer and key not in done:
            wanted.add(key)
    record = read_job_record(folder.area, store) if wanted else None
    if record is None:
        return
    failures = read_failures(folder.area, store)
    for source in recorded_sources(record):
        if source.key in failures and source.key in wanted:
            yield failed_row(source, failures[source.key].reason)


def _joined_at(folder: JobFolder) -> datetime | None:
    """When the videos table was written; None when it is not there."""
    return {file.url: file.modified for file in folder.files}.get(folder.area.table("videos"))


def _key(row: dict[str, Any]) -> str:
    """`Source.key` of the source that a row speaks of."""
    return Source(row["source"], row["video"], FileIdentity(row["source_size"], row["source_version"])).key
