"""`python -m tests.zoo.fuzz_job DIR [--files 2000] [--seed 0]`: damaged files from a seed, through the real job.

The files go through `facemill restore` some hundred at a time. Each must end as done or as failed with a reason, each
that is done must pass `facemill verify`, and the job must end by itself, with no error but the files' own. What does
not is told, and stays in DIR.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import typer

from tests.zoo.fuzz import KINDS, STAMPED, bases, damage

OF_HEADER = ("header flips", "header hole", "beginning lost", "other bytes")
"""What else is done to a file: to where FFmpeg looks first, and to all of it."""

SECONDS_A_FILE = 30
"""After which, on the average, a job is taken to hang."""

SHARD_SECONDS = ("1", "3", "0.5", "1.3")
"""By turns, a job each."""


@dataclass
class Findings:
    """How the files of one job, or of several, have ended."""

    done: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """By the reason, without what is particular of a file."""
    wrong: list[str] = field(default_factory=list)
    """What may not be."""
    seconds: float = 0.0
    """Wall-clock time of the jobs, without verifying."""

    def add(self, other: Findings) -> None:
        self.done += other.done
        self.failed += other.failed
        self.wrong += other.wrong
        self.seconds += other.seconds


def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="For the files; what was found stays there.")],
    files: Annotated[int, typer.Option(help="How many.")] = 2000,
    seed: Annotated[int, typer.Option(help="What the damage follows from.")] = 0,
    chunk: Annotated[int, typer.Option(help="How many go into one job.")] = 500,
) -> None:
    """Damage files, restore them, and tell how they ended."""
    found = Findings()
    for number, start in enumerate(range(0, files, chunk)):
        found.add(run_job(folder / str(number), range(start, min(files, start + chunk)), seed))
        ended = f"{found.done} done, {found.failed.total()} failed, {len(found.wrong)} wrong"
        print(f"{min(files, start + chunk)} files: {ended}, {found.seconds:.0f} s", flush=True)
    for reason, count in found.failed.most_common():
        print(f"{count:5} {reason}")
    for told in found.wrong:
        print(f"WRONG {told}")
    raise typer.Exit(bool(found.wrong))


def run_job(folder: Path, numbers: range, seed: int) -> Findings:
    """Restore and verify the damaged files of these numbers; what is in order is removed from `folder`."""
    source, out = folder / "in", folder / "out"
    for each in (source, folder / "good"):
        each.mkdir(parents=True)
    names = write_damaged(bases(folder / "good"), source, numbers, seed)
    shard_seconds = SHARD_SECONDS[numbers.start // len(numbers) % len(SHARD_SECONDS)]
    options = ("--experts", "none", "--preset", "ultrafast", "--shard-seconds", shard_seconds)
    begun = time.monotonic()
    code, told = _facemill("restore", source, "--out", out, *options, limit=SECONDS_A_FILE * len(names) + 300)
    found = Findings(seconds=time.monotonic() - begun)
    if code not in (0, 1):
        return Findings(wrong=[f"{folder}: {told[-2000:]}"])
    found.wrong += [f"{folder}: {line}" for line in told.splitlines() if "Traceback" in line or "Error" in line[:40]]
    (table,) = out.glob("_facemill/*/videos.parquet")
    rows = {row["video"]: row for row in pq.read_table(table).to_pylist()}
    found.wrong += [f"{folder}/{name}: has no row" for name in names if name not in rows]
    for row in rows.values():
        if row["status"] == "done":
            found.done += 1
        else:
            found.failed[_kind_of(row["reason"])] += 1
    wrong = list(_unlike_their_source(source, out, {name for name, row in rows.items() if row["status"] == "done"}))
    found.wrong += [f"{folder}/{told}" for told in wrong]
    if not found.wrong:
        shutil.rmtree(folder)
    return found


def write_damaged(good: list[Path], folder: Path, numbers: range, seed: int) -> list[str]:
    """Write the damaged files of these numbers, each by a chance of its own; returns their names."""
    names = []
    for number in numbers:
        chance = random.Random(f"{seed}-{number}")
        base = good[number % len(good)]
        kind = chance.choice((*(KINDS if base.suffix in STAMPED else KINDS[:4]), *OF_HEADER))
        path = Path(shutil.copy(base, folder / f"{number:05} {kind} {base.name}"))
        if kind in OF_HEADER:
            _damage_header(kind, path, chance)
        else:
            damage(kind, path, chance)
        names.append(path.name)
    return names


def _damage_header(kind: str, path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    end = min(len(content), chance.choice((64, 1000, len(content) // 4)))
    at = chance.randrange(end)
    if kind == "header flips":
        for _ in range(chance.choice((1, 4, 16))):
            content[chance.randrange(end)] = chance.randrange(256)
    elif kind == "header hole":
        del content[at : at + chance.choice((1, 4, 50))]
    elif kind == "beginning lost":
        del content[:at]
    else:  # lengths that are far too large, offsets that lead anywhere
        for place in range(at, len(content) - 4, chance.choice((997, 10007))):
            content[place : place + 4] = chance.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"))
    path.write_bytes(content)


def _unlike_their_source(source: Path, out: Path, done: set[str]) -> Iterator[str]:
    """What `facemill verify` says of the results that are done, where it is not satisfied."""
    if not done:
        return
    code, told = _facemill("verify", source, out, "--json", limit=3600)
    if code not in (0, 1):
        yield f"verify: {told[-2000:]}"
        return
    for video in json.loads(told[told.index("{") :])["videos"]:
        if video["video"] in done and video["outcome"] not in ("equal", "allowed"):
            faults = [f"{check['what']}: {check['told']}" for check in video["checks"] if check["state"] == "fault"]
            losses = [f"{check['what']}: {check['told']}" for check in video["checks"] if check["state"] == "loss"]
            yield f"{video['video']}: {video['outcome']}: {faults or losses or video['notes']}"


def _facemill(*arguments: object, limit: float) -> tuple[int | None, str]:
    """Exit code and output of a command; None for the code when it did not end in `limit` seconds."""
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return None, f"did not end in {limit:.0f} s"
    return ended.returncode, ended.stdout if "--json" in arguments else ended.stderr + ended.stdout


def _kind_of(reason: str) -> str:
    """A reason without the file's name and its numbers."""
    return re.sub(r"\d+", "N", re.sub(r"/\S*/in/\d+ [^:]*", "", reason)).strip(": ")[:110]


if __name__ == "__main__":
    typer.run(main)
