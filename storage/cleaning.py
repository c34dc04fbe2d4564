"""What crashes leave in a destination, and what of it is certainly of no use any more. Results and records never are.

    partial files      `.facemill-partial-*`, on disks those that no process holds locked; in S3 only what a killed
                       process wrote to see whether it may write
    open uploads       to S3, of working objects and of results of the jobs that are on record; never of other keys
    finished videos    their working objects, once the record says done
    unfinished videos  their working objects, from which a resumed job goes on: only when that is asked for

All of it must be of some age, since a process of another machine may still write; what belongs to videos that the same
run has finished needs none, unless another run makes them again at the same time.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from storage.catalogue import Source
from storage.committing import PARTIAL_MARK, is_abandoned
from storage.containers import possible_paths
from storage.finishing import variant_path
from storage.job_record import read_job_record
from storage.job_status import JobFolder, is_done, job_folders, recorded_sources
from storage.receipts import VARIANTS, WorkArea, receipts_apart
from storage.redoing import being_redone
from storage.run_lock import run_lock
from storage.store import Store, is_remote, join
from storage.uploads import Upload, abort, open_uploads, size_of

Kind = Literal["partial file", "open upload", "finished video", "unfinished video"]


@dataclass(frozen=True)
class Waste:
    """Something that can go."""

    kind: Kind
    place: str
    """A file, the key of an upload, or the folder of a video's working objects."""
    size: int
    """Bytes."""
    urls: tuple[str, ...] = ()
    """Files."""
    upload: Upload | None = None


def find_waste(out: str, store: Store, *, before: datetime, given_up: Collection[WorkArea] = ()) -> Iterator[Waste]:
    """All that can go in a destination.

    Args:
        before: what was written later stays.
        given_up: jobs whose videos need not be done; see `jobs_held`. What was written for them later stays, too.
    """
    folders = job_folders(out, store)
    if is_remote(out):
        results = {path for folder in folders for path in _results_of(_sources(folder.area, store))}
        yield from _uploads(out, results, store, before)
    yield from _partial_files(out, store, before)
    for folder in folders:
        yield from _work_of(folder, store, before, folder.area in given_up)


@contextmanager
def jobs_held(out: str, store: Store, *, before: datetime) -> Iterator[list[JobFolder]]:
    """The jobs for which nothing was written since then and at which no run is known to be.

    A run of one of them that begins waits for the end of the block, so that it does not go by what is being removed.
    """
    with ExitStack() as held:
        at_rest = {folder.area for folder in job_folders(out, store) if folder.last_active < before}
        alone = {area for area in at_rest if _held_alone(area, held)}
        # Listed again: a run may have come and gone before the lock was taken.
        yield [each for each in job_folders(out, store) if each.area in alone and each.last_active < before]


def _held_alone(area: WorkArea, held: ExitStack) -> bool:
    """Whether the job could be locked; it stays so as long as `held`."""
    with ExitStack() as tried:
        if not tried.enter_context(run_lock(area)).try_alone():
            return False
        held.push(tried.pop_all())
    return True


def give_up_job(area: WorkArea, store: Store) -> None:
    """From now on nothing is left of a job, until it is run again. What is done of it stays on record."""
    store.commit_bytes(b"", area.abandoned)


def find_own_waste(area: WorkArea, out: str, done: Sequence[Source], store: Store, *, before: datetime) -> list[Waste]:
    """What is left of videos that a job has just finished: partial files of their results, and uploads.

    Not of those that another run has begun to make again, nor what a process of this machine still writes.

    Args:
        before: uploads to the results' own names that were begun later may be another job's, and stay.
    """
    if is_remote(out):
        uploads = list(open_uploads(area.work, store))
        finished = {area.video(source.key) for source in _at_rest(area, done, store)}
        own = [each for each in uploads if posixpath.dirname(each.url) in finished]
        return [*_as_waste(own, store), *_uploads(out, _results_of(done), store, before)]
    folders = {posixpath.dirname(join(out, source.relative_path)) for source in done}
    partials = [path for folder in folders for path in Path(folder).glob(f"{PARTIAL_MARK}{area.name}-*")]
    owners = tuple(f"{PARTIAL_MARK}{area.owner(source)}" for source in _at_rest(area, done, store))
    found = []
    for path in partials:
        if path.name.startswith(owners) and is_abandoned(path):
            with suppress(FileNotFoundError):  # its writer has ended meanwhile
                found.append(Waste("partial file", str(path), path.stat().st_size, (str(path),)))
    return found


def clear_work(area: WorkArea, store: Store) -> None:
    """Remove all working objects of a job whose videos are all done, but for those that another run makes again."""
    urls = store.list_files(area.work)
    redone = {posixpath.basename(mark) for mark in being_redone(area, store)}  # a mark comes before what is made
    store.remove(*receipts_apart(url for url in urls if posixpath.basename(posixpath.dirname(url)) not in redone))


def _at_rest(area: WorkArea, sources: Sequence[Source], store: Store) -> list[Source]:
    """Those that no run makes again. To be asked after what may be removed was listed."""
    redone = being_redone(area, store)
    return [source for source in sources if area.redo(source) not in redone]


def remove(waste: Waste, store: Store) -> None:
    """Remove it."""
    if waste.upload is not None:
        abort(waste.upload, store)
    store.remove(*receipts_apart(waste.urls))


def _partial_files(out: str, store: Store, before: datetime) -> Iterator[Waste]:
    for file in store.list_details(out):
        is_partial = posixpath.basename(file.url).startswith(PARTIAL_MARK) and file.modified < before
        if is_partial and (is_remote(out) or is_abandoned(Path(file.url))):
            yield Waste("partial file", file.url, file.size, (file.url,))


def _uploads(out: str, results: set[str], store: Store, before: datetime) -> Iterator[Waste]:
    """Uploads that are facemill's own."""
    for upload in open_uploads(out, store):
        path = upload.url.removeprefix(join(out, ""))
        if upload.begun < before and (path.startswith("_facemill/") or path in results):
            yield from _as_waste([upload], store)


def _as_waste(uploads: Iterable[Upload], store: Store) -> Iterator[Waste]:
    for upload in uploads:
        try:
            size = size_of(upload, store)
        except FileNotFoundError:  # it has ended meanwhile
            continue
        yield Waste("open upload", upload.url, size, upload=upload)


def _sources(area: WorkArea, store: Store) -> Iterator[Source]:
    record = read_job_record(area, store)
    return iter(()) if record is None else recorded_sources(record)


def _results_of(sources: Iterable[Source]) -> set[str]:
    """Every path below the destination that a result of these may have."""
    return {
        variant_path(path, variant)
        for source in sources
        for path in possible_paths(source.relative_path)
        for variant in VARIANTS
    }


def _work_of(folder: JobFolder, store: Store, before: datetime, given_up: bool) -> Iterator[Waste]:
    area = folder.area
    urls = frozenset(file.url for file in folder.files)
    done = {area.video(source.key) for source in _sources(area, store) if is_done(source, area, urls)}
    videos: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for file in folder.files:
        video, name = posixpath.split(file.url)
        is_working = video.startswith(f"{area.work}/") and not name.startswith(PARTIAL_MARK)
        if is_working and file.modified < before and (given_up or video in done):
            videos.setdefault(video, []).append(file.url)
            sizes[video] = sizes.get(video, 0) + file.size
    for video, files in videos.items():
        kind: Kind = "finished video" if video in done else "unfinished video"
        yield Waste(kind, video, sizes[video], tuple(files))
