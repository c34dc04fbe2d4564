"""How far the jobs of a destination have come, from what lies there: no process that may be running is asked."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

from storage.catalogue import Source
from storage.failures import Failure, read_failures
from storage.job_record import JobRecord, read_job_record
from storage.kept_probes import left_probe
from storage.receipts import RECEIPT_SUFFIX, WorkArea
from storage.shards import PtsRange, chain_covering, plan_shards
from storage.store import Store, StoredFile, join


@dataclass(frozen=True)
class VideoLeft:
    """A video that is neither done nor failed."""

    video: str
    """Path of the source relative to SRC."""
    shards_done: int
    shards: int | None
    """None as long as the job has not looked into it."""


@dataclass(frozen=True)
class JobStatus:
    """What is done, failed and left of a job."""

    job: str
    begun: datetime | None
    """None for a job without a record of what it was asked for; then nothing else is known of it."""
    last_active: datetime
    """When anything under the job's folder was written last."""
    done: tuple[str, ...] = ()
    """Paths of the sources relative to SRC, as in the other two."""
    failed: tuple[tuple[str, Failure], ...] = ()
    left: tuple[VideoLeft, ...] = ()
    given_up: int = 0
    """Videos that would be left, had `facemill clean` not given them up."""
    superseded: int = 0
    """Videos that would have failed, or be left or lost, had a later job not done them."""
    lost: tuple[str, ...] = ()
    """Of those done, the ones whose result is not in place any more; empty unless it was looked for."""

    @property
    def is_forgotten(self) -> bool:
        """Whether all of the job was given up before anything was done."""
        return self.begun is not None and not (self.done or self.failed or self.left)


@dataclass(frozen=True)
class JobFolder:
    """A job's area with the listing of what is in it."""

    area: WorkArea
    files: tuple[StoredFile, ...]

    @property
    def last_active(self) -> datetime:
        return max(file.modified for file in self.files)


def job_folders(out: str, store: Store) -> list[JobFolder]:
    """Every job of a destination, the one that was active last at the end; the destination's record is listed once."""
    return job_folders_among(store.list_details(join(out, "_facemill")), out)


def job_folders_among(files: Iterable[StoredFile], out: str) -> list[JobFolder]:
    """As `job_folders`, by a listing of the destination or of its record."""
    base = join(out, "_facemill", "")
    found: dict[str, list[StoredFile]] = defaultdict(list)
    for file in files:
        if not file.url.startswith(base):
            continue
        name, inside, _ = file.url.removeprefix(base).partition("/")
        if inside:
            found[name].append(file)
    folders = [JobFolder(WorkArea(join(out, "_facemill", name)), tuple(files)) for name, files in found.items()]
    return sorted(folders, key=lambda folder: folder.last_active)


def job_status(folder: JobFolder, store: Store) -> JobStatus:
    """Read what there is to a job's status; one request a failed video, and one a video that is begun."""
    area, name = folder.area, folder.area.name
    record = read_job_record(area, store)
    if record is None:
        return JobStatus(name, None, folder.last_active)
    failures = read_failures(area, store)
    urls = frozenset(file.url for file in folder.files)
    done, failed, left = [], [], []
    given_up = 0
    for source in recorded_sources(record):
        if is_done(source, area, urls):
            done.append(source.relative_path)
        elif source.key in failures:
            failed.append((source.relative_path, failures[source.key]))
        elif area.abandoned not in urls or area.redo(source) in urls:
            left.append(source)
        else:
            given_up += 1
    seconds = Fraction(record.settings["shard_seconds"]).limit_denominator(1000)
    ranges = _ranges_done(area, urls)
    unfinished = tuple(_left(source, area, urls, ranges[source.key], seconds, store) for source in left)
    return JobStatus(name, record.begun, folder.last_active, tuple(done), tuple(failed), unfinished, given_up)


def without_superseded(statuses: Sequence[JobStatus]) -> list[JobStatus]:
    """What a later job of the destination has done counts only there.

    A changed source makes another job, and so do other settings, whose results take the place of the earlier ones:
    nobody comes back for what became of a video in the job before.

    Args:
        statuses: of the jobs of one destination, the one that was active last at the end; they are returned so.
    """
    told: list[JobStatus] = []
    done_later: set[str] = set()
    for status in reversed(statuses):
        replaced = done_later.intersection(status.lost)
        failed = tuple(each for each in status.failed if each[0] not in done_later)
        left = tuple(each for each in status.left if each.video not in done_later)
        done = tuple(video for video in status.done if video not in replaced)
        lost = tuple(video for video in status.lost if video not in replaced)
        gone = len(replaced) + len(status.failed) - len(failed) + len(status.left) - len(left)
        told.append(replace(status, done=done, failed=failed, left=left, lost=lost, superseded=gone))
        done_later.update(set(done) - set(lost))
    return told[::-1]


def recorded_sources(record: JobRecord) -> Iterator[Source]:
    """The sources of a job."""
    return (source.source() for source in record.sources)


def is_done(source: Source, area: WorkArea, urls: frozenset[str]) -> bool:
    """Whether a video is on record as done and is not being made again; that its result is there is not looked for.

    Args:
        urls: all that is in the job's area, or at least its records and marks.
    """
    return area.parts(source, "videos") in urls and area.redo(source) not in urls


def _ranges_done(area: WorkArea, urls: frozenset[str]) -> dict[str, list[PtsRange]]:
    """The ranges that receipts are named by, by `Source.key`."""
    found: dict[str, list[PtsRange]] = defaultdict(list)
    for url in urls:
        if url.startswith(f"{area.work}/") and url.endswith(RECEIPT_SUFFIX):
            key, _, name = url.removeprefix(f"{area.work}/").partition("/")
            with suppress(ValueError):  # not facemill's own
                found[key].append(PtsRange.named(name))
    return found


def _left(
    source: Source,
    area: WorkArea,
    urls: frozenset[str],
    ranges: Sequence[PtsRange],
    shard_seconds: Fraction,
    store: Store,
) -> VideoLeft:
    probe = left_probe(source, area, store) if area.probe(source) in urls else None
    if probe is None:
        return VideoLeft(source.relative_path, 0, None)
    shards = plan_shards(source, probe, shard_seconds)
    cuts = [shard.range.start or 0 for shard in shards[1:]]
    parts: dict[int, list[PtsRange]] = defaultdict(list)
    for each in ranges:
        parts[0 if each.start is None else bisect_right(cuts, each.start)].append(each)
    done = sum(chain_covering(shard.range, parts[number]) is not None for number, shard in enumerate(shards))
    return VideoLeft(source.relative_path, done, len(shards))
