"""How fast facemill's reader decodes, against PyAV's own loop on the same file.

Both read the whole file, in turns, so that what else the machine does concerns both. A third column reads the file in
shards of 4 s, one after the other, as a job does: each seeks and decodes from a keyframe before its start.

    python -m bench.reading [FILE...]     its own files, in 720p and 1080p, when none is given
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import av
import ffmpeg
import imageio_ffmpeg
import typer
from rich.console import Console
from rich.table import Table

from storage.catalogue import Source
from storage.demuxing import demuxed
from storage.opening import open_container
from storage.probe import VideoProbe, main_video_stream, probe_video
from storage.reader import read_frames
from storage.shards import PtsRange, Shard, plan_shards
from storage.store import Store

_SHARD_SECONDS = Fraction(4)


def main(
    files: Annotated[list[Path] | None, typer.Argument(help="Videos to read.", exists=True)] = None,
    runs: Annotated[int, typer.Option(min=1, help="Pairs of runs a file.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Decoder threads.")] = 1,
    seconds: Annotated[int, typer.Option(min=8, help="Length of the files that it makes.")] = 24,
) -> None:
    """Print frames a second of both, medians over the runs, and the median of the pairs' ratios."""
    table = Table(title=f"Decoding, {threads} threads, medians of {runs} pairs of runs", title_justify="left")
    for header in ("file", "frames", "PyAV fps", "facemill fps", "ratio", "in 4 s shards fps", "ratio"):
        table.add_column(header, justify="left" if header == "file" else "right")
    with _files(files, seconds) as paths:
        for path in paths:
            table.add_row(*_measured(path, runs, threads))
    Console(width=120).print(table)


@contextmanager
def _files(given: list[Path] | None, seconds: int) -> Iterator[list[Path]]:
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="facemill-bench-") as folder:
        yield [
            _made(Path(folder) / name, size, seconds)
            for name, size in (("720p.mp4", "1280x720"), ("1080p.mp4", "1920x1080"), ("720p.ts", "1280x720"))
        ]


def _made(path: Path, size: str, seconds: int) -> Path:
    """H.264 with B-frames and a keyframe every 2 s."""
    pattern = ffmpeg.input(f"testsrc2=size={size}:rate=25:duration={seconds}", f="lavfi")
    grain = pattern.filter("noise", alls=8, allf="t", all_seed=1)
    command = ffmpeg.output(
        grain, str(path), vcodec="libx264", preset="veryfast", crf=23, bf=2, g=50, pix_fmt="yuv420p"
    )
    command.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True)
    return path


def _measured(path: Path, runs: int, threads: int) -> list[str]:
    store = Store()
    source = Source(str(path.absolute()), path.name, store.identity(str(path.absolute())))
    probe = probe_video(source.url, store)
    readings: tuple[Callable[[], int], ...] = (
        lambda: _by_pyav(source, threads),
        lambda: _by_shards(source, probe, [PtsRange(None, None)], threads),
        lambda: _by_shards(source, probe, [s.range for s in plan_shards(source, probe, _SHARD_SECONDS)], threads),
    )
    seconds: list[list[float]] = [[], [], []]
    frames = [0, 0, 0]
    for _ in range(runs):
        for number, reading in enumerate(readings):
            begun = time.perf_counter()
            frames[number] = reading()
            seconds[number].append(time.perf_counter() - begun)
    if len(set(frames)) != 1:
        raise SystemExit(f"{path}: PyAV's loop, the reader and the shards gave {frames} frames")
    rates = [frames[0] / statistics.median(each) for each in seconds]
    ratios = [statistics.median(a / b for a, b in zip(seconds[0], each, strict=True)) for each in seconds]
    return [
        path.name,
        str(frames[0]),
        f"{rates[0]:.0f}",
        f"{rates[1]:.0f}",
        f"{ratios[1]:.3f}",
        f"{rates[2]:.0f}",
        f"{ratios[2]:.3f}",
    ]


def _by_pyav(source: Source, threads: int) -> int:
    with open_container(source.url, name=source.url) as container:
        stream = main_video_stream(container, name=source.url)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        count = 0
        for packet in demuxed(container, stream):
            try:
                count += len(packet.decode())
            except av.error.InvalidDataError:
                continue
        return count


def _by_shards(source: Source, probe: VideoProbe, ranges: list[PtsRange], threads: int) -> int:
    return sum(1 for each in ranges for _ in read_frames(Shard(source, probe, each), Store(), threads=threads))


if __name__ == "__main__":
    typer.run(main)
