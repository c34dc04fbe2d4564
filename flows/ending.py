"""What a person is told when a job has ended."""

from __future__ import annotations

from collections.abc import Iterator

from flows.driver import Outcome
from flows.job import Job
from storage.words import counted

_STILL_IN_SIGHT = 20
"""Lines, one a video, that a person still sees when a job has ended."""


def lines_at_the_end(job: Job, outcome: Outcome) -> Iterator[str]:
    """How the job ended; last, what can be done about what is missing.

    Videos that have failed in this run are named where their own lines may be out of sight, those that it left alone
    in any case: nothing was told of them before.
    """
    alone = set(outcome.left_alone)
    for video, reason in sorted(outcome.failed.items()):
        if video in alone:
            yield f"failed before: {video}: {reason}"
        elif len(job.sources) > _STILL_IN_SIGHT:
            yield f"failed: {video}: {reason}"
    left = len(job.sources) - len(outcome.done) - len(outcome.failed)
    told = f"{len(outcome.done)} done, {len(outcome.failed)} failed" + (f", {left} left" if outcome.stopped else "")
    yield f"{told}. Results: {job.out}  Manifest: {job.area.url}"
    if outcome.stopped:
        yield "stopped at the first failure, as --fail-fast asks. Run the job without it to go on with the others"
    if alone:
        before = counted(len(alone), "video that failed before was", "videos that failed before were")
        yield f"{before} left alone, since the same would come of it: --retry-failed tries again"
