"""``facemill clean``: remove what killed runs have left in a destination."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console

from flows.steps import say
from storage.cleaning import Kind, find_waste, give_up_job, jobs_held, remove
from storage.errors import DestinationError, UsageError
from storage.job_status import job_status
from storage.storage_errors import storage_errors_as
from storage.store import Store, absolute
from storage.words import counted

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def clean(
    out: Annotated[str, typer.Argument(metavar="DST", help="Folder or s3:// prefix of results.")],
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Leave what is younger: 30m, 12h, 7d ...")
    ] = "1d",
    unfinished: Annotated[
        bool,
        typer.Option("--unfinished", help="Also what unfinished jobs have done: run again, they begin anew."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be removed, and remove nothing.")] = False,
    s3_endpoint: Annotated[str | None, typer.Option(metavar="URL", help="URL of an S3-compatible server.")] = None,
) -> None:
    """Remove what killed runs have left in DST: partial files, open uploads, working objects of finished videos.

    Results and the record of what was done stay.
    """
    store, out = Store(s3_endpoint), absolute(out)
    store.require_folder(out)
    youngest = age(older_than)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    sizes: Counter[Kind] = Counter()
    numbers: Counter[Kind] = Counter()
    with storage_errors_as(DestinationError, out), ExitStack() as held:
        if not store.list_files(out):
            raise UsageError(f"{out}: there is nothing here. Give the --out of `facemill restore`")
        before = store.now(out) - youngest
        given_up = held.enter_context(jobs_held(out, store, before=before)) if unfinished else []
        with_videos_left = [folder.area for folder in given_up if job_status(folder, store).left]
        for waste in find_waste(out, store, before=before, given_up=[folder.area for folder in given_up]):
            if not dry_run:
                remove(waste, store)
            say(console, f"{'would remove' if dry_run else 'removed'} {waste.place} ({_size(waste.size)})")
            sizes[waste.kind] += waste.size
            numbers[waste.kind] += 1
        for area in with_videos_left:
            if not dry_run:
                give_up_job(area, store)
            console.print(f"{'would give up' if dry_run else 'gave up'} what is left of job {area.name}")
        if not dry_run:
            store.remove_empty_folders(f"{out}/_facemill")
    parts = [f"{_named(kind, numbers[kind])} ({_size(sizes[kind])})" for kind in numbers]
    told = "nothing" if not parts else ", ".join(parts)
    console.print(f"{'would remove' if dry_run else 'removed'} {told}; what is younger than {older_than} stays")


def age(text: str) -> timedelta:
    """`30m`, `12h`, `7d` as a time; `0` too.

    Raises:
        UsageError: it is nothing like that.
    """
    found = re.fullmatch(r"(\d{1,6})([smhd]?)", text.strip())
    if found is None or (not found[2] and int(found[1])):
        raise UsageError(f"--older-than: '{text}' is no age. Write a number and its unit, such as 30m, 12h or 7d")
    return timedelta(**{_UNITS[found[2] or "s"]: int(found[1])})


def _named(kind: Kind, number: int) -> str:
    return f"work of {counted(number, kind)}" if kind.endswith("video") else counted(number, kind)


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
