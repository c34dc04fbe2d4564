"""A job under kills: the real command in a session of its own, started again until the job is done."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.grounds import Ground
from tests.chaos.processes import MARK, Process, all_ended, kill, marked
from tests.chaos.work_logs import Kill, read_work_logs

VICTIMS = ("driver", "actor", "raylet")

_HANG_SECONDS = 1200
"""A command that neither ends nor meets a kill for so long hangs."""
_VICTIM_SECONDS = 600
"""Until a process of the drawn kind is there: Ray and the workers start within it, on a busy machine as well."""
_LOOK_SECONDS = 0.2
_AT_ANY_MOMENT = 0.25
"""Share of the kills that may come while nothing is worked on yet: Ray takes most of a short run to start."""
_GONE_SECONDS = 120
"""Until every process of a killed driver's Ray has ended by itself."""
_RUNS_IN_PEACE = 5
"""Of a job that nothing disturbs any more. The first finishes it, unless the last kill failed a video or ended the run,
or the machine is too busy for Ray to start."""
_FAILED = re.compile(r"^failed: (.*)$", re.MULTILINE)


class BrokenPromiseError(Exception):
    """A job hangs, leaves processes behind, or cannot be finished."""


@dataclass
class Story:
    """What happened to one job."""

    kills: list[Kill] = field(default_factory=list)
    """In order of time."""
    runs: int = 0
    failures: list[str] = field(default_factory=list)
    """Every `failed: VIDEO: REASON` line that a run printed."""

    @property
    def by_victim(self) -> Counter[str]:
        return Counter(kill.victim for kill in self.kills)


class DisturbedJob:
    """One command, run again and again while its processes are killed."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], ground: Ground, log: Path) -> None:
        """Args:
        environment: of the command, with a mark and a folder for Ray of its own, which Ray's nodes have, too.
        log: takes what every run prints.
        """
        self._command = [sys.executable, "-m", "flows.cli", *command, *ground.options]
        self._environment, self._ground, self._log = dict(environment), ground, log
        self._mark, self._ray_folder = self._environment[MARK], Path(self._environment["RAY_TMPDIR"])
        self._seen = 0
        self._run: subprocess.Popen[bytes] | None = None
        self.story = Story()

    def finish(self, chance: random.Random, kills: int, victims: Sequence[str], mean_seconds: float) -> Story:
        """Run the job to its end, under so many kills or fewer if it is done before.

        Raises:
            BrokenPromiseError: it does not end, or not well.
        """
        try:
            while len(self.story.kills) < kills:
                if not self._disturb(chance.choice(list(victims)), chance, mean_seconds):
                    return self.story
            for _ in range(_RUNS_IN_PEACE):
                if self._ended(_HANG_SECONDS) == 0:
                    return self.story
            raise BrokenPromiseError(f"not done after {_RUNS_IN_PEACE} runs that nothing disturbed")
        finally:
            self._end()

    def _disturb(self, kind: str, chance: random.Random, mean_seconds: float) -> bool:
        """Kill one process of a kind at a drawn moment; False when the job was done before."""
        at_any_moment = chance.random() < _AT_ANY_MOMENT
        wait, pick = chance.uniform(0, 2 * mean_seconds), chance.random()
        given_up = time.monotonic() + _VICTIM_SECONDS
        until = time.monotonic() + wait if at_any_moment else None
        while until is None or time.monotonic() < until or not (found := self._candidates(kind)):
            if self._current().poll() is not None and self._ended(0) == 0:
                return False
            if time.monotonic() > given_up:
                raise BrokenPromiseError(f"no {kind} at work for {_VICTIM_SECONDS} s: {marked(self._mark)}")
            if until is None and self._is_at_work():
                until = time.monotonic() + wait
            time.sleep(_LOOK_SECONDS)
        victim = found[int(pick * len(found))]
        moment = datetime.now(UTC)
        if kill(victim, self._mark):
            ends_run = kind == "driver" or (kind == "raylet" and self._ground.name == "session")
            self.story.kills.append(Kill(moment, kind, victim.title, ends_run))
            with self._log.open("a") as log:
                log.write(f"killed at {moment:%H:%M:%S}: {kind} {victim.title[:100]}\n")
            self._after(kind)
        return True

    def _is_at_work(self) -> bool:
        """Whether a worker has begun something since the last kill."""
        since = self.story.kills[-1].at if self.story.kills else datetime.min.replace(tzinfo=UTC)
        return any(line.at > since for line in read_work_logs(self._ray_folder))

    def _candidates(self, kind: str) -> list[Process]:
        run = self._current()
        processes = marked(self._mark)
        if kind == "driver":
            return [process for process in processes if process.pid == run.pid]
        if kind == "raylet":
            return self._ground.raylets(processes)
        return [process for process in processes if process.is_worker]

    def _after(self, kind: str) -> None:
        """What a kill must lead to by itself, and what a cluster's owner does about it."""
        if kind == "driver":
            self._current().wait(_GONE_SECONDS)
        if kind == "raylet":
            self._ground.mend()

    def _current(self) -> subprocess.Popen[bytes]:
        """The run that goes on; one is started where none does, as a person would who finds it ended."""
        if self._run is None:
            with self._log.open("ab") as log:
                self._run = subprocess.Popen(
                    self._command, env=self._environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            self.story.runs += 1
        return self._run

    def _ended(self, within_seconds: float) -> int:
        """Wait for the current run's end; its exit code."""
        try:
            code = self._current().wait(within_seconds)
        except subprocess.TimeoutExpired:
            raise BrokenPromiseError(f"a run hangs: {self._log.read_text(errors='replace')[-2000:]}") from None
        self._run = None
        printed = self._log.read_text(errors="replace")
        self.story.failures += _FAILED.findall(printed[self._seen :])
        self._seen = len(printed)
        return code

    def _end(self) -> None:
        """See that nothing is left running of a session; what is left is ended, and told."""
        if self._run is not None and self._run.poll() is None:
            self._run.kill()
            self._run.wait()
        if self._ground.name == "session" and (left := all_ended(self._mark, _GONE_SECONDS)):
            for process in left:
                kill(process, self._mark)
            raise BrokenPromiseError(f"processes left behind: {[process.title for process in left]}")
