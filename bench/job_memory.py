"""Peak memory of a whole job over one long video, at one length and at a multiple of it.

The video is `bench.memory`'s: 32x24 pixels at 25 fps with sound. Every two seconds the memory of the command and of
every process it started is read, each shared page counted once among those that share it (PSS).

    python -m bench.job_memory [--hours 0.15] [--times 10] [--container mkv]
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.memory import PIECE_SECONDS, make_long_source

_PAUSE_SECONDS = 2
_TOTAL = "all together"
_DRIVER = "the command itself"


def main(
    hours: Annotated[float, typer.Option(help="The shorter length.")] = 0.15,
    times: Annotated[int, typer.Option(min=2, help="How many times as long the longer one is.")] = 10,
    container: Annotated[str, typer.Option(help="Suffix: mkv, ts or mp4.")] = "mkv",
) -> None:
    """Print the peak memory of each kind of process at both lengths."""
    with tempfile.TemporaryDirectory(prefix="facemill-bench-") as scratch:
        (short, _), (long, seconds) = (
            _job(Path(scratch), container, max(1, round(length * 3600 / PIECE_SECONDS)))
            for length in (hours, hours * times)
        )
    table = Table(title=f"{container}: peak memory of a job, MB", title_justify="left")
    for header in ("processes", f"{hours:g} h", f"{hours * times:g} h", "growth"):
        table.add_column(header, justify="left" if header == "processes" else "right")
    shared = [role for role in short if role in long and short[role] >= 1]  # not what was about to end
    for role in sorted(shared, key=lambda role: (role == _TOTAL, -long[role])):
        table.add_row(role, f"{short[role]:.0f}", f"{long[role]:.0f}", f"{long[role] / short[role] - 1:+.0%}")
    Console(width=100).print(table)
    print(f"{hours * times:g} h took {seconds:.0f} s")


def _job(folder: Path, container: str, pieces: int) -> tuple[dict[str, float], float]:
    """(peak MB by kind of process, seconds) of a job over so many pieces."""
    source = folder / f"{pieces}.{container}"
    make_long_source(source, pieces)
    command = [sys.executable, "-m", "flows.cli", "restore", str(source), "--out", str(folder / f"out{pieces}")]
    begun = time.perf_counter()
    job = subprocess.Popen([*command, "--preset", "ultrafast"], stdout=subprocess.DEVNULL)
    peaks: dict[str, float] = {}
    while job.poll() is None:
        now = _memory_of_tree(job.pid)
        now[_TOTAL] = sum(now.values())
        peaks = {role: max(peaks.get(role, 0), now.get(role, 0)) for role in peaks.keys() | now.keys()}
        time.sleep(_PAUSE_SECONDS)
    if job.returncode:
        raise SystemExit(f"the job ended with {job.returncode}")
    source.unlink()
    return peaks, time.perf_counter() - begun


def _memory_of_tree(root: int) -> dict[str, float]:
    """MB now, by kind of process, of a process and its descendants."""
    parents = {int(entry.name): _parent(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    memory: dict[str, float] = defaultdict(float)
    for process in parents:
        ancestor: int | None = process
        while ancestor is not None and ancestor != root:
            ancestor = parents.get(ancestor)
        if ancestor == root:
            try:
                memory[_role(process, root)] += _pss_mb(process)
            except OSError:
                continue  # it ended meanwhile
    return memory


def _parent(entry: Path) -> int | None:
    try:
        return int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def _role(process: int, root: int) -> str:
    """What a process is: its Ray name, without an actor's number, or its program."""
    if process == root:
        return _DRIVER
    words = (Path("/proc") / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    if worker := re.match(r"ray::(?:MapWorker\(MapBatches\()?(\w+)", words):
        return worker[1]
    return Path(words.split(" ")[0]).name or "ended"


def _pss_mb(process: int) -> float:
    (told,) = (
        line
        for line in (Path("/proc") / str(process) / "smaps_rollup").read_text().splitlines()
        if line.startswith("Pss:")
    )
    return int(told.split()[1]) / 1024


if __name__ == "__main__":
    typer.run(main)
