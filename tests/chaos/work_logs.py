"""What the workers of a job wrote of their work, and what follows: which shards a kill met, which were done again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_LINE = re.compile(r"^facemill (\S+) (\S+) (begins|commits) (\S+) of (\".*\")$", re.MULTILINE)

ShardName = tuple[str, str]
"""(path of the video, range in ticks)."""


@dataclass(frozen=True, order=True)
class Told:
    """One line of `actors.work_log`."""

    at: datetime
    stage: str
    event: str
    shard: ShardName
    run: str
    """Which run of the command it was worked for."""


@dataclass(frozen=True)
class Kill:
    """A process that was killed."""

    at: datetime
    victim: str
    """driver, actor or raylet."""
    title: str
    """Of the process."""
    ends_run: bool
    """Whether the run of the command ends with it; what its workers still begin is lost as well."""


@dataclass(frozen=True)
class Redone:
    """What kills cost."""

    in_flight: int
    """Shards that had begun and were not committed, summed over the kills."""
    redone: int
    """Shards that some stage began again, counted once for each kill that made it so."""
    joined_again: int
    """Videos whose joining began again."""
    needless: tuple[str, ...]
    """What was begun again though no kill had met it: a promise broken."""


def read_work_logs(ray_folder: Path) -> list[Told]:
    """What all workers of all Ray sessions below a folder wrote, in order of time."""
    found = []
    for path in ray_folder.glob("ray/session_2*/logs/worker-*.err"):
        job = path.name.split("-")[2]
        for at, stage, event, part, video in _LINE.findall(path.read_text(errors="replace")):
            shard = json.loads(video), part
            found.append(Told(datetime.fromisoformat(at), stage, event, shard, f"{path.parts[-3]}/{job}"))
    return sorted(found)


def count_redone(told: Sequence[Told], kills: Sequence[Kill]) -> Redone:
    """Hold every second beginning of a stage on a shard against the kills before it.

    Args:
        told: in order of time, of one job.
        kills: in order of time.
    """
    met = [_in_flight(told, kill) for kill in kills]
    redone: set[tuple[ShardName, int]] = set()
    needless, joined_again = [], 0
    for before, line in _beginnings_again(told):
        causes = [number for number, kill in enumerate(kills) if _may_be_cause(kill, before, line)]
        if line.stage == "assemble":
            joined_again += 1
        else:
            causes = [number for number in causes if line.shard in met[number]]
            redone |= {(line.shard, number) for number in causes[-1:]}
        if not causes:
            needless.append(f"{line.stage} of {line.shard[0]} {line.shard[1]} at {line.at:%H:%M:%S}")
    return Redone(sum(map(len, met)), len(redone), joined_again, tuple(needless))


def _in_flight(told: Sequence[Told], kill: Kill) -> set[ShardName]:
    """Shards that had begun at a kill, or began in the run that it ended, and were not committed by then."""
    before = {line.run for line in told if line.at < kill.at}
    begun = {
        line.shard
        for line in told
        if line.stage != "assemble" and (line.at < kill.at or (kill.ends_run and line.run in before))
    }
    return begun - {line.shard for line in told if line.event == "commits" and line.at < kill.at}


def _beginnings_again(told: Sequence[Told]) -> Iterator[tuple[Told, Told]]:
    """(the beginning before, the beginning) of every stage on every shard but the first time."""
    last: dict[tuple[str, ShardName], Told] = {}
    for line in told:
        if line.event == "begins":
            if before := last.get((line.stage, line.shard)):
                yield before, line
            last[line.stage, line.shard] = line


def _may_be_cause(kill: Kill, before: Told, again: Told) -> bool:
    """Whether a kill came between, or ended the run of the first of two beginnings."""
    return kill.at < again.at and (before.at < kill.at or (kill.ends_run and before.run != again.run))
