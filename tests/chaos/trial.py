"""A whole chaos test: an archive, one job in peace, then the same job again and again under kills."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ray._private.ray_constants import ENABLE_RAY_CLUSTERS_ENV_VAR

from storage.store import Store, join
from tests.chaos.archive import make_archive
from tests.chaos.disturbed import BrokenPromiseError, DisturbedJob, Story
from tests.chaos.grounds import Ground, Session, two_nodes
from tests.chaos.processes import MARK
from tests.chaos.results import Archive, Comparison, compare
from tests.chaos.work_logs import Redone, count_redone, read_work_logs

POOLS = ("--detectors", "1", "--experts-f", "1", "--experts-t", "1", "--compositors", "2")
LOSSLESS = ("--crf", "0", "--preset", "ultrafast")
"""Encoders differ by their threads, which differ with the machines a cluster has left; lossless, none does."""
SHORT_SHARDS = ("--shard-seconds", "0.2", "--min-face", "48")


@dataclass(frozen=True)
class Plan:
    """What a chaos test does."""

    seed: int
    kills: int
    """In all; the last job ends in peace."""
    victims: tuple[str, ...]
    frames: int = 40
    """Of each video."""
    kills_a_job: int = 8
    mean_seconds: float = 3.0
    """From the last kill, mostly from where work goes on after it, to the next; drawn evenly from twice as much."""
    experts: str = "both"
    """`t`, `f` or `both`: of an archive with a face for each."""
    side_by_side: bool = False
    """Whether the job runs in peace while the first one is disturbed, which takes less time and more memory."""


@dataclass(frozen=True)
class JobReport:
    """One disturbed job."""

    ground: str
    kills: dict[str, int]
    actors: dict[str, int]
    """What the killed workers were at, by the name that Ray gives them."""
    runs: int
    redone: Redone
    found: Comparison
    failures: tuple[str, ...]
    """What runs in between told of videos: a reason each, gone with the next run."""
    seconds: float

    @property
    def broken(self) -> list[str]:
        """The promises that did not hold."""
        held = {
            "frames lost": not self.found.lost,
            "frames doubled": not self.found.doubled,
            "pixels differ": self.found.same_pixels,
            "other streams differ": self.found.same_streams,
            "tables differ": self.found.same_tables,
            "something is left": not self.found.left,
            "done again without need": not self.redone.needless,
            "redone more than was in flight": self.redone.redone <= self.redone.in_flight,
        }
        return [promise for promise, holds in held.items() if not holds]


@dataclass
class Report:
    """What came of it all."""

    seed: int
    store: str
    jobs: list[JobReport] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def kills(self) -> Counter[str]:
        return sum((Counter(job.kills) for job in self.jobs), Counter())

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Trial:
    """Runs a plan in a folder of its own."""

    def __init__(self, plan: Plan, folder: Path, *, bucket: str | None = None, endpoint: str | None = None) -> None:
        """Args:
        bucket: `s3://` URL that takes sources and results; None for disks.
        endpoint: of the S3 server.
        """
        self._plan, self._folder, self._store = plan, folder, Store(endpoint)
        self._sources = folder / "in"
        self._base = bucket or str(folder / "out")
        self._videos = make_archive(self._sources, plan.seed, plan.frames, plan.experts)
        self._given = str(self._sources)
        if bucket:
            self._given = join(bucket, "in")
            for video in self._videos:
                self._store.commit_bytes((self._sources / video).read_bytes(), join(self._given, video))
        self._more = ("--s3-endpoint", endpoint) if endpoint else ()

    def run(self, tell: Any = print) -> Report:
        """All of it; a broken promise is in the report."""
        started = time.monotonic()
        report = Report(self._plan.seed, "s3" if self._more else "disk")
        chance = random.Random(self._plan.seed)
        aside = ThreadPoolExecutor(1)
        try:
            undisturbed = aside.submit(self._in_peace)
            if not self._plan.side_by_side:
                undisturbed.result()
                tell(f"undisturbed: {time.monotonic() - started:.0f} s")
            while (left := self._plan.kills - report.kills.total()) > 0:
                number = len(report.jobs)
                report.jobs.append(self._disturbed(number, chance, min(left, self._plan.kills_a_job), undisturbed))
                tell(line_of(report.jobs[-1]))
                report.broken += [f"job {number}: {promise}" for promise in report.jobs[-1].broken]
        except BrokenPromiseError as error:
            report.broken.append(f"job {len(report.jobs)}: {error}")
        finally:
            aside.shutdown()
        report.seconds = time.monotonic() - started
        return report

    def _in_peace(self) -> Archive:
        out = join(self._base, "undisturbed")
        with self._environment("peace") as (environment, _):
            job = DisturbedJob(self._command(out), environment, Session(), self._folder / "undisturbed.log")
            job.finish(random.Random(), 0, (), 0)
        return Archive(out, self._store)

    def _disturbed(self, number: int, chance: random.Random, kills: int, undisturbed: Future[Archive]) -> JobReport:
        started = time.monotonic()
        out = join(self._base, f"job-{number}")
        on_cluster = "raylet" in self._plan.victims and number % 2 == 0
        with self._environment(f"job-{number}") as (environment, ray_folder), ExitStack() as stack:
            ground: Ground = stack.enter_context(two_nodes(environment)) if on_cluster else Session()
            log = self._folder / f"job-{number}.log"
            job = DisturbedJob(self._command(out), environment, ground, log)
            story = job.finish(chance, kills, self._plan.victims, self._plan.mean_seconds)
            told = read_work_logs(ray_folder)
        redone = count_redone(told, story.kills)
        found = compare(Archive(out, self._store), undisturbed.result(), self._sources, self._videos)
        seconds = time.monotonic() - started
        return _report(ground, story, redone, found, seconds)

    def _command(self, out: str) -> tuple[str, ...]:
        options = (*LOSSLESS, *SHORT_SHARDS, *POOLS, "--experts", self._plan.experts, *self._more)
        return ("restore", self._given, "--out", out, *options)

    @contextmanager
    def _environment(self, name: str) -> Iterator[tuple[dict[str, str], Path]]:
        """Environment of one job's processes: a mark, and folders of its own for Ray and for what is temporary."""
        temporary = self._folder / f"{name}-tmp"
        temporary.mkdir()
        ray_folder = Path(tempfile.mkdtemp(prefix="fm-"))  # its sockets need a short path
        own = {
            MARK: f"{ray_folder.name}-{name}",
            "RAY_TMPDIR": str(ray_folder),
            "TMPDIR": str(temporary),
            ENABLE_RAY_CLUSTERS_ENV_VAR: "0",  # nodes and drivers meet on the loopback: see flows.cluster
        }
        try:
            yield {**os.environ, **own}, ray_folder
        finally:
            shutil.rmtree(ray_folder, ignore_errors=True)


def _report(ground: Ground, story: Story, redone: Redone, found: Comparison, seconds: float) -> JobReport:
    return JobReport(
        ground=ground.name,
        kills=dict(story.by_victim),
        actors=dict(Counter(kill.title for kill in story.kills if kill.victim == "actor")),
        runs=story.runs,
        redone=redone,
        found=found,
        failures=tuple(story.failures),
        seconds=round(seconds, 1),
    )


def told(kills: Mapping[str, int]) -> str:
    """Kills by kind of victim, in words."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kills.items())) or "nothing"


def line_of(job: JobReport) -> str:
    """A job in one line."""
    return (
        f"{job.ground}: killed {told(job.kills)}; {job.runs} runs, {job.redone.redone} of {job.redone.in_flight} "
        f"shards in flight redone, {job.found.lost} lost and {job.found.doubled} doubled of {job.found.frames} frames, "
        f"pixels {'equal' if job.found.same_pixels else 'DIFFER'}, {len(job.found.left)} left, "
        f"{job.seconds:.0f} s{': ' + ', '.join(job.broken) if job.broken else ''}"
    )
