"""Peak memory of the work on one long video, at one length and at a multiple of it.

The video is made by copying a short one end to end: 32x24 pixels at 25 fps, with sound, so that its packets are as many
as in any video of that length, and small. Each step runs in a process of its own, whose peak resident memory is told.

    python -m bench.memory [--hours 1] [--times 10] [--container mkv]
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import av
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from flows.verify import Pair, verify_pair
from storage.assembly import assemble_video
from storage.catalogue import Source
from storage.containers import choose_container
from storage.manifest import FACES_SCHEMA, commit_faces, join_tables, stitched_faces, write_faces_part
from storage.probe import VideoProbe, probe_video
from storage.reader import read_frames
from storage.receipts import WorkArea
from storage.segments import decoding_times, in_ticks
from storage.shards import plan_shards
from storage.store import Store

PIECE_SECONDS = 64
"""A whole number of frames at 25 fps and of AAC packets at 48 kHz."""
_FACES_A_FRAME = 2

Step = Callable[[Path], None]


def main(
    hours: Annotated[float, typer.Option(help="The shorter length.")] = 1,
    times: Annotated[int, typer.Option(min=2, help="How many times as long the longer one is.")] = 10,
    container: Annotated[str, typer.Option(help="Suffix: mkv, ts or mp4.")] = "mkv",
) -> None:
    """Print the peak memory of each step at both lengths."""
    steps: tuple[tuple[str, Step], ...] = (
        ("imports alone", _nothing),
        ("probe", _probe),
        ("plan", _plan),
        ("read the last shard", _read_last),
        ("assemble and verify", _assemble),
        ("facemill verify", _verify),
        ("faces table", _faces),
    )
    table = Table(title=f"{container}: peak memory of a process, MB", title_justify="left")
    for header in ("step", f"{hours:g} h", f"{hours * times:g} h", "growth", f"seconds at {hours * times:g} h"):
        table.add_column(header, justify="left" if header == "step" else "right")
    with tempfile.TemporaryDirectory(prefix="facemill-bench-") as scratch:
        folders = [Path(scratch) / name for name in ("short", "long")]
        for folder, length in zip(folders, (hours, hours * times), strict=True):
            folder.mkdir()
            _make_long(folder, container, max(1, round(length * 3600 / PIECE_SECONDS)))
        for name, step in steps:
            (short, _), (long, seconds) = (_peak_of(step, folder) for folder in folders)
            table.add_row(name, f"{short:.0f}", f"{long:.0f}", f"{long / short - 1:+.0%}", f"{seconds:.0f}")
    Console(width=100).print(table)


def _peak_of(step: Step, folder: Path) -> tuple[float, float]:
    """(MB, seconds) of a step in a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    begun = time.perf_counter()
    worker = context.Process(target=_run, args=(step, folder, theirs))
    worker.start()
    theirs.close()
    peak = float(ours.recv())
    worker.join()
    return peak, time.perf_counter() - begun


def _run(step: Step, folder: Path, answer: Any) -> None:
    step(folder)
    answer.send(_peak_mb())


def _peak_mb() -> float:
    """Of this process. Not `ru_maxrss`, which begins with what the parent had."""
    (told,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(told.split()[1]) / 1024


def _make_long(folder: Path, container: str, pieces: int) -> None:
    """A long source, and the segments of its result."""
    source = folder / f"long.{container}"
    piece = make_long_source(source, pieces)
    probe = probe_video(str(source), Store())
    (folder / "segments").mkdir()
    for number in range(pieces):
        _make_segment(piece, folder / "segments" / f"{number:05}.mp4", probe, number)


def make_long_source(path: Path, pieces: int) -> Path:
    """A video of so many pieces of `PIECE_SECONDS` each; returns the piece, `piece.mp4` beside it."""
    piece = path.with_name("piece.mp4")
    _make_piece(piece)
    with av.open(str(path), "w") as out:
        _append(piece, out, pieces)
    return piece


def _make_piece(path: Path) -> None:
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "bf": "2", "g": "50"})
        video.width, video.height, video.pix_fmt = 32, 24, "yuv420p"
        video.codec_context.thread_count = 1
        audio = out.add_stream("aac", rate=48000)
        audio.codec_context.layout = "mono"
        noise = np.random.default_rng(0)
        for number in range(25 * PIECE_SECONDS):
            frame = av.VideoFrame.from_ndarray(noise.integers(100, 140, (24, 32, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(video.encode(frame))
        for first in range(0, 48000 * PIECE_SECONDS, 1024):
            samples = noise.normal(0, 0.01, (1, 1024)).astype(np.float32)
            sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 48000, first, Fraction(1, 48000)
            out.mux(audio.encode(sound))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))


def _packets(piece: Path) -> Iterator[tuple[av.Packet, bytes]]:
    with av.open(str(piece)) as container:
        for packet in container.demux():
            if packet.size and packet.pts is not None and 0 <= packet.pts * (packet.time_base or 1) < PIECE_SECONDS:
                yield packet, bytes(packet)


def _append(piece: Path, out: av.container.OutputContainer, pieces: int) -> None:
    """Copy a piece end to end."""
    with av.open(str(piece)) as template:
        streams = [out.add_stream_from_template(stream) for stream in template.streams]
        kept = list(_packets(piece))
        for number in range(pieces):
            for packet, content in kept:
                copy = av.Packet(content)
                base = packet.time_base or Fraction(1)
                shift = int(number * PIECE_SECONDS / base)
                copy.time_base, copy.duration, copy.is_keyframe = base, packet.duration or 0, packet.is_keyframe
                copy.pts, copy.dts = (packet.pts or 0) + shift, (packet.dts or 0) + shift
                copy.stream = streams[packet.stream_index]
                out.mux_one(copy)


def _make_segment(piece: Path, path: Path, probe: VideoProbe, number: int) -> None:
    """The piece's picture as a segment at its place in the long video."""
    base = probe.time_base
    options = {"video_track_timescale": str(base.denominator), "movie_timescale": str(base.denominator)}
    with av.open(str(piece)) as template, av.open(str(path), "w", format="mp4", options=options) as out:
        stream = out.add_stream_from_template(template.streams.video[0])
        stream.time_base = base
        coded = [(packet, content) for packet, content in _packets(piece) if packet.stream_index == 0]
        start = probe.first_pts + int(number * PIECE_SECONDS / base)
        first = min(packet.pts or 0 for packet, _ in coded)
        pts = [start + in_ticks((packet.pts or 0) - first, packet.time_base or base, base) for packet, _ in coded]
        for (packet, content), at, dts in zip(coded, pts, decoding_times(pts, probe.frame_ticks), strict=True):
            copy = av.Packet(content)
            copy.time_base, copy.pts, copy.dts, copy.is_keyframe = base, at, int(dts), packet.is_keyframe
            copy.stream = stream
            out.mux_one(copy)


def _source(folder: Path) -> Source:
    (path,) = folder.glob("long.*")
    return Source(str(path), path.name, Store().identity(str(path)))


def _nothing(_: Path) -> None:
    pass


def _probe(folder: Path) -> None:
    probe_video(_source(folder).url, Store())


def _plan(folder: Path) -> None:
    source = _source(folder)
    plan_shards(source, probe_video(source.url, Store()), Fraction(4))


def _read_last(folder: Path) -> None:
    source = _source(folder)
    probe = probe_video(source.url, Store())
    last = plan_shards(source, probe, Fraction(4))[-1]
    assert sum(1 for _ in read_frames(last, Store()))


def _result(folder: Path) -> Path:
    return folder / f"result{next(folder.glob('long.*')).suffix}"


def _assemble(folder: Path) -> None:
    source = _source(folder)
    probe = probe_video(source.url, Store())
    segments = sorted((folder / "segments").iterdir())
    choice = choose_container(probe, source.relative_path, "h264")
    report = assemble_video(source.url, source.url, probe, segments, _result(folder), choice)
    assert report.frames == len(segments) * 25 * PIECE_SECONDS, report.frames


def _verify(folder: Path) -> None:
    verdict = verify_pair(Pair(_source(folder), str(_result(folder)), None), Store())
    assert not [check for check in verdict.checks if check.state == "fault"]


def _faces(folder: Path) -> None:
    """Two faces in every frame, from the shards' parts to the joined table."""
    source = _source(folder)
    shards = len(list((folder / "segments").iterdir())) * PIECE_SECONDS // 4

    def parts() -> Iterator[bytes]:
        for shard in range(shards):
            yield write_faces_part(
                [
                    {
                        **dict.fromkeys(FACES_SCHEMA.names),
                        "video": source.relative_path,
                        "pts": 100 * shard + frame,
                        "track": track,
                        "reason": "track between w_skip 50 and w_medium 100 wide",
                        "head_anchor": f"{shard}:{track}",
                        "tail_anchor": f"{shard + 1}:{track}",
                    }
                    for frame in range(100)
                    for track in range(_FACES_A_FRAME)
                ]
            )

    area = WorkArea(str(folder / "job"))
    faces, tracks = commit_faces(area, source, stitched_faces(parts()), Store())
    assert (faces, tracks) == (shards * 100 * _FACES_A_FRAME, _FACES_A_FRAME)
    join_tables(area, [source], {}, Store())


if __name__ == "__main__":
    typer.run(main)
