"""Thousands of files of one or two frames through the real job: files a second, and where the driver's time goes.

python -m bench.tiny_files [--files 200] [--files 2000]
"""

from __future__ import annotations

import cProfile
import pstats
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import av
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from flows.config import load_config
from flows.restore import restore

_KINDS = 10
"""Different files; the others are copies of them under other names."""


def main(
    files: Annotated[list[int] | None, typer.Option(help="How many; may be given more than once.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the driver's time goes.")] = False,
) -> None:
    """Print how long a job over that many files takes."""
    table = Table(title="Files of one or two frames, 64x48", title_justify="left")
    for header in ("files", "seconds", "files a second", "driver's CPU, ms a file"):
        table.add_column(header, justify="right")
    for count in files or [200]:
        with tempfile.TemporaryDirectory(prefix="facemill-bench-") as scratch:
            table.add_row(*_measured(Path(scratch), count, profile=profile))
    Console(width=100).print(table)


def _measured(folder: Path, count: int, *, profile: bool) -> list[str]:
    (folder / "in").mkdir()
    for number in range(count):
        path = folder / "in" / f"{number:05}.mp4"
        if number < _KINDS:
            _make(path, frames=1 + number % 2, seed=number)
        else:
            shutil.copy(folder / "in" / f"{number % _KINDS:05}.mp4", path)
    flags = {"sources": [str(folder / "in")], "out": str(folder / "out"), "experts": "none", "preset": "ultrafast"}
    config = load_config(None, flags)
    watch = cProfile.Profile()
    begun, cpu = time.perf_counter(), time.process_time()
    if profile:
        watch.enable()
    _, outcome = restore(config, Console(quiet=True))
    watch.disable()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    if profile:
        pstats.Stats(watch).sort_stats("cumulative").print_stats(45)
    if len(outcome.done) != count:
        raise SystemExit(f"{len(outcome.done)} of {count} done; failed: {list(outcome.failed.items())[:3]}")
    return [str(count), f"{seconds:.0f}", f"{count / seconds:.1f}", f"{1000 * cpu / count:.0f}"]


def _make(path: Path, *, frames: int, seed: int) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            pixels = np.random.default_rng(100 * seed + number).integers(0, 255, (48, 64, 3), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))


if __name__ == "__main__":
    typer.run(main)
