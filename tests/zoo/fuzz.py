"""`python -m tests.zoo.fuzz DIR [COUNT [SEED]]`: small damaged files from a seed, read in shards and in one go.

Held against each other: facemill's reader over the whole file, the same in shards of 0.5 s and 1.3 s, and a plain loop
of PyAV. Frames must be as many, and at the same times; where its times do not rise, or facemill mends them, the loop
tells only how many. Files that differ stay in DIR.
"""

from __future__ import annotations

import random
import shutil
import sys
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise, zip_longest
from pathlib import Path

import av

from storage.errors import FacemillError
from storage.reader import read_frames
from storage.store import Store
from tests.media import Audio, Clip, make_video, shards_of, whole

SHARD_SECONDS = (Fraction(1, 2), Fraction(13, 10))
MS = Fraction(1, 1000)
WITH_B_FRAMES = {"libx264": "mp4 mkv ts flv avi h264", "libx265": "mp4 mkv ts hevc", "mpeg4": "avi mkv mp4"}
WITH_B_FRAMES |= {"mpeg2video": "ts mpg m2v"}
WITHOUT = {"libvpx": "webm", "libvpx-vp9": "webm mp4", "libsvtav1": "mkv mp4", "mjpeg": "avi mkv", "libx264": "mov"}
WITHOUT |= {"flv": "flv", "wmv2": "wmv", "ffv1": "mkv", "gif": "gif"}
PIXELS = {"mjpeg": "yuvj420p", "gif": "rgb8"}
SOUND = {"mp4": "aac", "mkv": "aac", "ts": "mp2", "flv": "libmp3lame", "avi": "libmp3lame"}
STAMPED = (".mp4", ".mkv", ".webm", ".ts", ".mov")
"""Whose packets have timestamps that Matroska can have too."""


def bases(folder: Path) -> list[Path]:
    """Good files: every container, codec and depth of B-frames that go together."""
    kinds = [(codec, suffix, b) for codec, each in WITH_B_FRAMES.items() for suffix in each.split() for b in (0, 2)]
    kinds += [(codec, suffix, 0) for codec, each in WITHOUT.items() for suffix in each.split()]
    paths = []
    for codec, suffix, b in kinds:
        audio = (Audio(SOUND[suffix], seconds=2.5),) if suffix in SOUND and codec != "ffv1" else ()
        clip = Clip(70, (64, 48), codec=codec, pix_fmt=PIXELS.get(codec, "yuv420p"), b_frames=b, audio=audio)
        paths.append(make_video(folder / f"{codec}-{b}.{suffix}", clip))
    return paths


def damage(kind: str, path: Path, chance: random.Random) -> None:
    """Do one of `KINDS` to a file."""
    if kind == "lost packets":
        _rewrite(path, chance, kept=chance.choice((0.98, 0.9, 0.6)), jitter=0)
    elif kind == "wrong stamps":
        _rewrite(path, chance, kept=1, jitter=chance.choice((10, 60, 300)))
    else:
        _damage_bytes(kind, path, chance)


def _damage_bytes(kind: str, path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    header, size = len(content) // 8, chance.choice((1, 20, 200, 1000))
    at = chance.randrange(header, len(content))
    if kind == "flips":
        for _ in range(chance.choice((1, 5, 30))):
            content[chance.randrange(header, len(content))] = chance.randrange(256)
    elif kind == "noise":
        content[at : at + size] = chance.choice((bytes, chance.randbytes))(size)
    else:
        del content[at : len(content) if kind == "cut" else at + size]
    path.write_bytes(content)


KINDS = ("flips", "noise", "cut", "hole", "lost packets", "wrong stamps")


def _rewrite(path: Path, chance: random.Random, *, kept: float, jitter: int) -> None:
    """As Matroska, which takes any timestamps, of a share of the packets, each off by up to `jitter` milliseconds."""
    good = path.rename(path.with_name(f"good-{path.name}"))
    with av.open(str(good)) as source, av.open(str(path), "w", format="matroska") as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size and packet.pts is not None and (number == 0 or chance.random() < kept):
                at = round(packet.pts * (packet.time_base or MS) / MS) + chance.randrange(-jitter, jitter + 1)
                packet.time_base, packet.stream = MS, stream
                packet.pts, packet.dts = max(at, number), number
                out.mux_one(packet)
    good.unlink()


def by_pyav(path: Path) -> list[int | None]:
    """pts of every frame that a plain loop gives."""
    found: list[int | None] = []
    with suppress(av.error.FFmpegError, StopIteration), av.open(str(path), metadata_errors="replace") as container:
        stream = next(each for each in container.streams.video if each.codec_context is not None)
        stream.thread_type, stream.codec_context.thread_count = "SLICE", 1
        with suppress(av.error.FFmpegError, IndexError):  # the latter for streams that appear midway
            for packet in container.demux(stream):
                if packet.size or packet.dts is None:
                    with suppress(av.error.FFmpegError):
                        found += [frame.pts for frame in packet.decode()]
        found += [frame.pts for frame in stream.decode(None)]  # where demuxing ended early
    return found


def difference(path: Path) -> str:
    """What is not the same between the readings; empty when all is."""
    plain = by_pyav(path)
    try:
        shard = whole(path)
    except FacemillError as error:
        return f"refused ({error}), while PyAV has {len(plain)} frames" if plain else ""
    frames = [frame.pts for frame in read_frames(shard, Store())]
    rises = all(before is not None and after is not None and before < after for before, after in pairwise(plain))
    regains = shard.probe.codec == "libdav1d" and len(frames) > len(plain)  # keyframes that dav1d refuses behind damage
    unlike = len(frames) != len(plain) or (rises and shard.probe.timeline.regular and frames != plain)
    if unlike and not regains:
        return f"whole and PyAV: {_unlike(frames, plain)}"
    for seconds in SHARD_SECONDS:
        parts = [frame.pts for part in shards_of(path, seconds) for frame in read_frames(part, Store())]
        if parts != frames:
            return f"shards of {seconds} s and whole: {_unlike(parts, frames)}"
    return ""


def _unlike(one: list[int | None], other: list[int | None]) -> str:
    first = next(at for at, (left, right) in enumerate(zip_longest(one, other, fillvalue=-1)) if left != right)
    return f"{len(one)} and {len(other)} frames, unlike from frame {first} on: {one[first:][:2]}, {other[first:][:2]}"


def main(folder: Path, count: int = 300, seed: int = 0) -> int:
    """Make and compare `count` files; returns how many differ."""
    (folder / "good").mkdir(parents=True, exist_ok=True)
    good, chance, found = bases(folder / "good"), random.Random(seed), 0
    for number in range(count):
        base = good[number % len(good)]
        kind = chance.choice(KINDS if base.suffix in STAMPED else KINDS[:4])
        path = Path(shutil.copy(base, folder / f"{seed}-{number} {kind} {base.name}"))
        damage(kind, path, chance)
        try:
            told = difference(path)
        except Exception as error:  # whatever it is, it is what is looked for
            told = f"{type(error).__name__}: {error}"
        found += bool(told)
        if told:
            print(f"{path.name}: {told}", flush=True)
        else:
            path.unlink()
    print(f"{count} files, {found} differ")
    return found


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit("usage: python -m tests.zoo.fuzz DIR [COUNT [SEED]]")
    sys.exit(bool(main(Path(sys.argv[1]), *map(int, sys.argv[2:]))))
