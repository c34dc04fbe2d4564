"""``facemill status``: what is done, failed and left of the jobs in a destination."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.steps import say
from storage.errors import DestinationError, UsageError
from storage.job_status import JobStatus, VideoLeft, job_folders_among, job_status, without_superseded
from storage.storage_errors import storage_errors_as
from storage.store import Store, absolute
from storage.video_rows import lost_results
from storage.words import counted

_JSON_FORMAT = 1


def status(
    out: Annotated[str, typer.Argument(metavar="DST", help="Folder or s3:// prefix of results.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    s3_endpoint: Annotated[str | None, typer.Option(metavar="URL", help="URL of an S3-compatible server.")] = None,
) -> None:
    """Tell what is done, failed and left of every job in DST, and when it was last active."""
    store, out = Store(s3_endpoint), absolute(out)
    store.require_folder(out)
    with storage_errors_as(DestinationError, out):
        files = store.list_details(out)
        sizes = {file.url: file.size for file in files}
        looked_at = [
            (found, tuple(video for video in lost_results(out, folder, sizes, store) if video in found.done))
            for folder in job_folders_among(files, out)
            if not (found := job_status(folder, store)).is_forgotten
        ]
    statuses = without_superseded([replace(found, lost=lost) for found, lost in looked_at])
    if not statuses:
        raise UsageError(f"{out}: there is no job of facemill. Give the --out of `facemill restore`")
    if json:
        typer.echo(_as_json(statuses))
        return
    console = Console(markup=False, highlight=False, soft_wrap=True)
    for found in statuses:
        for line in lines_of(found, datetime.now(UTC)):
            say(console, line)


def lines_of(status: JobStatus, now: datetime) -> list[str]:
    """A job for a person: a line, and one more for each video that failed or is left."""
    active = f"last active {status.last_active:%Y-%m-%d %H:%M:%S} UTC ({_ago(now - status.last_active)})"
    if status.begun is None:
        return [f"job {status.job}: not on record what it was asked for, {active}"]
    kept = len(status.done) - len(status.lost)
    told = f"{kept} done, {len(status.failed)} failed, {len(status.left) + len(status.lost)} left"
    told += f", {status.superseded} done by a later job" if status.superseded else ""
    told += f", {status.given_up} given up by `facemill clean`" if status.given_up else ""
    return [
        f"job {status.job}: {told}, {active}",
        *(
            f"  failed: {video}: {failure.reason}"
            + ("" if failure.of_source else " (the same command again tries once more)")
            for video, failure in status.failed
        ),
        *(f"  left: {_left(video)}" for video in status.left),
        *(
            f"  lost: {video}: its result is not in place any more, or was changed (the same command again makes it)"
            for video in status.lost
        ),
    ]


def _left(video: VideoLeft) -> str:
    if video.shards is None:
        return f"{video.video}: not looked into yet"
    return f"{video.video}: {video.shards_done} of {counted(video.shards, 'shard')} done"


def _ago(passed: timedelta) -> str:
    seconds = max(0, round(passed.total_seconds()))
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{counted(seconds // length, unit)} ago"
    return f"{counted(seconds, 'second')} ago"


def _as_json(statuses: Sequence[JobStatus]) -> str:
    jobs: list[dict[str, Any]] = [
        {
            "job": found.job,
            "begun": found.begun and found.begun.isoformat(),
            "last_active": found.last_active.isoformat(),
            "done": [video for video in found.done if video not in found.lost],
            "lost": found.lost,
            "failed": [
                {"video": video, "reason": failure.reason, "of_source": failure.of_source}
                for video, failure in found.failed
            ],
            "left": [
                {"video": video.video, "shards_done": video.shards_done, "shards": video.shards} for video in found.left
            ],
            "given_up": found.given_up,
            "superseded": found.superseded,
        }
        for found in statuses
    ]
    return json_format.dumps({"format": _JSON_FORMAT, "jobs": jobs}, indent=2, ensure_ascii=False)
