"""Damage: specimens that are cut, corrupt, empty, or not what they are called."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import ffmpeg

from tests.media import Clip, make_video
from tests.zoo.specimen import Specimen, clip, from_pattern, pattern, write

LARGE = {"vcodec": "libx264", "preset": "veryfast", "bf": 2, "g": 12, "b:v": "400k", "pix_fmt": "yuv420p"}
SIZE = "160x120"


def _made(seconds: float = 3, **options: object) -> Callable[[Path], object]:
    return pattern(seconds=seconds, size=SIZE, sound=True, **{**LARGE, **options})


def _cut(make: Callable[[Path], object], share: float) -> Callable[[Path], None]:
    def write_cut(path: Path) -> None:
        make(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return write_cut


def _noise_in(make: Callable[[Path], object], *, blocks: int, size: int, seed: int) -> Callable[[Path], None]:
    """`blocks` stretches of `size` bytes are noise, none of them in the first tenth."""

    def write_noisy(path: Path) -> None:
        make(path)
        content = bytearray(path.read_bytes())
        chance = random.Random(seed)
        for _ in range(blocks):
            at = chance.randrange(len(content) // 10, len(content) - size)
            content[at : at + size] = chance.randbytes(size)
        path.write_bytes(bytes(content))

    return write_noisy


def _zeros_in(make: Callable[[Path], object], size: int) -> Callable[[Path], None]:
    def write_zeros(path: Path) -> None:
        make(path)
        content = bytearray(path.read_bytes())
        at = len(content) // 2
        content[at : at + size] = bytes(size)
        path.write_bytes(bytes(content))

    return write_zeros


def _without_packets(numbers: Sequence[int], codec: str, pix_fmt: str = "yuv420p") -> Callable[[Path], None]:
    """Matroska in which the video's packets of these numbers are noise."""

    def write_broken(path: Path) -> None:
        make_video(path, Clip(frames=50, codec=codec, pix_fmt=pix_fmt))
        with av.open(str(path)) as container:
            packets = [(packet.pos or 0, bytes(packet)) for packet in container.demux(video=0) if packet.size]
        content, chance = bytearray(path.read_bytes()), random.Random(1)
        for number in numbers:
            block, packet = packets[number]
            at = content.index(packet, block)
            content[at : at + len(packet)] = b"\xff" + chance.randbytes(len(packet) - 1)
        path.write_bytes(bytes(content))

    return write_broken


def _dropouts(path: Path) -> None:
    """MPEG-2 as DVB sends it, of which packets are lost: single ones, and the first picture behind each keyframe that
    others refer to.
    """
    _made(seconds=4, vcodec="mpeg2video", acodec="mp2", g=25)(path)
    with av.open(str(path)) as container:
        pictures = [((each.pos or 0) // 188, each.is_keyframe) for each in container.demux(video=0) if each.size]
    content = path.read_bytes()
    lost = set(random.Random(4).sample(range(pictures[10][0], len(content) // 188), 4))
    for number, (_, is_keyframe) in enumerate(pictures[:-4]):
        if number and is_keyframe:  # two B-frames follow, which are shown before it
            lost |= set(range(pictures[number + 3][0], pictures[number + 4][0]))
    kept = (content[at * 188 : at * 188 + 188] for at in range(len(content) // 188) if at not in lost)
    path.write_bytes(b"".join(kept))


def _of_two_sizes(path: Path) -> None:
    """A transport stream that goes over from 160x120 to 128x96 without its clock changing."""
    content = b""
    for size, offset in ((SIZE, 0), ("128x96", 2.4)):
        part = path.with_name(f"part-{offset}-{path.name}")
        write(part, from_pattern(2, size), **LARGE, output_ts_offset=offset)
        content += part.read_bytes()
        part.unlink()
    path.write_bytes(content)


def _broken_index(path: Path) -> None:
    """An AVI whose index points nowhere."""
    _made(acodec="mp3", vcodec="mpeg4")(path)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"idx1") + 8
    content[at:] = random.Random(3).randbytes(len(content) - at)
    path.write_bytes(bytes(content))


def _of_bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _with_suffix(suffix: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Made as another kind of file, and then called what it is not."""

    def write_renamed(path: Path) -> None:
        honest = path.with_suffix(suffix)
        make(honest)
        honest.rename(path)

    return write_renamed


def _only_sound(path: Path) -> None:
    write(path, [ffmpeg.input("sine=duration=1", f="lavfi")], acodec="aac")


NO_MEDIA = "cannot be opened as media"

SPECIMENS: tuple[Specimen, ...] = (
    Specimen("empty.mp4", "damage", "a file of zero bytes", Path.touch, "refused", "the file is empty (0 bytes)"),
    Specimen("text.mp4", "damage", "text", _of_bytes(b"no video at all\n" * 500), "refused", NO_MEDIA),
    Specimen("noise.mkv", "damage", "noise", _of_bytes(random.Random(5).randbytes(9000)), "refused", NO_MEDIA),
    Specimen("no moov.mp4", "damage", "MP4 cut before its index", _cut(_made(acodec="aac"), 0.7), "refused", NO_MEDIA),
    Specimen("sound.mp4", "damage", "sound without a picture", _only_sound, "refused", "no video stream"),
    Specimen("wrong suffix.mp4", "damage", "Matroska called .mp4", _with_suffix(".mkv", clip(frames=50, b_frames=2))),
    Specimen("50% größer  №1.mkv", "damage", "a name with signs, spaces and %", clip(frames=30, b_frames=2)),
    Specimen("cut.ts", "damage", "MPEG-TS cut in the middle", _cut(_made(acodec="mp2"), 0.6), "damaged", "damaged"),
    Specimen(
        "cut.mkv", "damage", "Matroska cut in the middle", _cut(_made(acodec="aac"), 0.6), "damaged", "it may be cut"
    ),
    Specimen(
        "cut moov first.mp4",
        "damage",
        "MP4 cut in the middle, its index in front",
        _cut(_made(acodec="aac", movflags="+faststart"), 0.6),
        "damaged",
        "gave no frame",
    ),
    Specimen(
        "noise.ts",
        "damage",
        "MPEG-TS with noise in it",
        _noise_in(_made(acodec="mp2"), blocks=3, size=500, seed=2),
        "damaged",
        "packets are incomplete",
    ),
    Specimen(
        "noise in.mkv",
        "damage",
        "Matroska with noise in it",
        _noise_in(_made(acodec="aac"), blocks=3, size=300, seed=1),
        "damaged",
        "damaged",
    ),
    Specimen(
        "noise in.mp4",
        "damage",
        "MP4 with noise in its media",
        _noise_in(_made(seconds=4, acodec="aac", movflags="+faststart"), blocks=2, size=300, seed=3),
        "damaged",
        "damaged",
    ),
    Specimen(
        "dvb dropouts.ts",
        "damage",
        "MPEG-2 with B-frames in MPEG-TS that lacks packets, and pictures behind keyframes",
        _dropouts,
        "damaged",
        "packets are incomplete",
    ),
    Specimen(
        "zeros.ts",
        "damage",
        "MPEG-TS with a block of zeros",
        _zeros_in(_made(acodec="mp2"), 6000),
        "damaged",
        "packets are incomplete",
    ),
    Specimen(
        "zeros.mpg",
        "damage",
        "MPEG-PS with a block of zeros",
        _zeros_in(_made(vcodec="mpeg2video", acodec="mp2"), 3000),
        "damaged",
        "damaged",
    ),
    Specimen(
        "lost frames.mkv",
        "damage",
        "three packets that no decoder takes",
        _without_packets((12, 13, 30), "mjpeg", "yuvj420p"),
        "damaged",
        "3 video packets of the source gave no frame",
        counts={"corrupt_packets": 3, "concealed_frames": 0, "frames_not_decoded": 3},
    ),
    Specimen(
        "damaged vp9.webm",
        "damage",
        "VP9 in which three packets are noise",
        _without_packets((12, 13, 30), "libvpx-vp9"),
        "damaged",
        "3 video packets of the source gave no frame",
        counts={"corrupt_packets": 3, "concealed_frames": 0, "frames_not_decoded": 3},
    ),
    Specimen(
        "damaged av1.mkv",
        "damage",
        "AV1 in which three packets are noise",
        _without_packets((12, 13, 35), "libsvtav1"),
        "damaged",
        "gave no frame",
    ),
    Specimen(
        "two sizes.ts",
        "damage",
        "the picture changes its size midway",
        _of_two_sizes,
        "damaged",
        "it changes to 128x96",
        counts={"corrupt_packets": 0, "concealed_frames": 0, "frames_not_decoded": 0},
    ),
    Specimen(
        "broken index.avi",
        "damage",
        "AVI whose index is noise: nothing is lost",
        _broken_index,
    ),
)
