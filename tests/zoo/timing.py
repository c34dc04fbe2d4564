"""Timing: specimens that are special in when their frames are shown, or in how the frames depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import ffmpeg
import numpy as np

from tests.media import Audio, Clip, make_video
from tests.zoo.checks import frames_of
from tests.zoo.field_pictures import write_field_pictures
from tests.zoo.specimen import Specimen, clip, from_pattern, pattern, write

X264 = {"vcodec": "libx264", "preset": "veryfast", "bf": 2, "g": 12, "pix_fmt": "yuv420p"}
MS = Fraction(1, 1000)
CLOCK = Fraction(1, 90000)
DAY_AND_NIGHT = [*range(25), *range(25, 75, 5), *range(75, 100)]
OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:b-pyramid=normal:scenecut=0:keyint=12:min-keyint=12"}
HEVC_OPEN_GOP = {"x265-params": "log-level=error:pools=1:open-gop=1:bframes=4:b-pyramid=1:keyint=12:min-keyint=12"}
INTRA_REFRESH = {"x264-params": "intra-refresh=1:keyint=25:scenecut=0:bframes=0"}


def jittered(step: int, jitter: int, frames: int, seed: int = 1) -> list[int]:
    """Timestamps `step` ticks apart, each off by up to `jitter` ticks."""
    return [int(at) for at in np.arange(frames) * step + np.random.default_rng(seed).integers(0, jitter, frames)]


def _phone(path: Path) -> None:
    """A phone's variable rate: about 30 a second, now and then 24 or a long exposure."""
    steps = np.random.default_rng(4).choice([2999, 3000, 3003, 3750, 6006], 60)
    pts = [0, *(int(at) for at in np.cumsum(steps))]
    make_video(path, Clip(pts=pts, time_base=CLOCK, rate=Fraction(30), b_frames=1, audio=(Audio(seconds=2),)))


def _restamped(path: Path, stamp: Callable[[int, int | None], int | None], frames: int = 60, **options: object) -> None:
    """A Matroska file whose video packets carry other timestamps: `stamp` is told number and pts in milliseconds."""
    plain = path.with_name(f"plain-{path.name}")
    make_video(plain, Clip(frames=frames, **options))  # type: ignore[arg-type]
    with av.open(str(plain)) as container, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        for number, packet in enumerate(container.demux(video=0)):
            if packet.size:
                packet.pts = stamp(number, packet.pts)
                packet.dts = packet.pts
                packet.stream = stream
                out.mux_one(packet)
    plain.unlink()


def _every_tenth_twice(path: Path) -> None:
    _restamped(path, lambda number, pts: (pts or 0) - 40 * (number % 10 == 5), gop=12)


def _every_tenth_twice_times(path: Path) -> Sequence[Fraction]:
    return [(40 * number - 39 * (number % 10 == 5)) * MS for number in range(60)]


def _of_no_duration(path: Path) -> None:
    """MP4 in which frame 20 is shown for no time: two frames have one timestamp."""
    make_video(path, Clip(pts=[*range(21), *range(23, 62)], rate=Fraction(25), gop=12))
    content = bytearray(path.read_bytes())
    entries = content.index(b"stts") + 12  # pairs of a number of frames and their duration
    count, duration = (int.from_bytes(content[at : at + 4], "big") for at in (entries + 8, entries + 12))
    assert (count, duration) == (1, 3 * 512)
    content[entries + 12 : entries + 16] = bytes(4)
    path.write_bytes(bytes(content))


def _of_no_duration_times(path: Path) -> Sequence[Fraction]:
    return [Fraction(512 * (number - (number > 20)) + (number == 21), 12800) for number in range(60)]


def _flv_with_clock(path: Path, clock: Callable[[int], int], frames: int = 60) -> None:
    """An FLV whose video tags carry other times: `clock` is told the true one, in milliseconds."""
    make_video(path, Clip(frames=frames, gop=5))
    content = bytearray(path.read_bytes())
    at = 13  # behind the file's header, and the size of the tag before the first
    while at < len(content):
        if content[at] == 9:
            low, high = content[at + 4 : at + 7], content[at + 7 : at + 8]
            time = clock(int.from_bytes(high + low, "big")).to_bytes(4, "big")
            content[at + 4 : at + 8] = time[1:] + time[:1]
        at += 11 + int.from_bytes(content[at + 1 : at + 4], "big") + 4
    path.write_bytes(bytes(content))


def _stepping_back(path: Path) -> None:
    _flv_with_clock(path, lambda time: time if time < 37 * 40 else time - 300)


def _stepping_back_times(path: Path) -> Sequence[Fraction]:
    """The frames come a millisecond apart until the clock has caught up."""
    shown: list[int] = []
    for number in range(60):
        stamp = 40 * number - 300 * (number >= 37)
        shown.append(max(stamp, shown[-1] + 1) if shown else stamp)
    return [time * MS for time in shown]


def _with_outliers(path: Path) -> None:
    """Frame 35 claims to be an hour later, frame 50 to be the first."""
    _flv_with_clock(path, lambda time: {1400: 3_601_400, 2000: 0}.get(time, time))


def _with_wrong_offsets(path: Path) -> None:
    """Frame 12 claims to be shown 40 s after it is decoded, frame 20 two before."""
    make_video(path, Clip(frames=60, gop=5))
    content, at = bytearray(path.read_bytes()), 13
    while at < len(content):
        time = int.from_bytes(content[at + 4 : at + 7], "big")
        if content[at] == 9 and content[at + 12] == 1 and time in (12 * 40, 20 * 40):
            offset = 40_000 if time == 12 * 40 else -2000
            content[at + 13 : at + 16] = offset.to_bytes(3, "big", signed=True)
        at += 11 + int.from_bytes(content[at + 1 : at + 4], "big") + 4
    path.write_bytes(bytes(content))


def _sparsely_stamped(path: Path) -> None:
    """MPEG-TS in which two of three PES packets of video have no PTS and DTS: a stamp may lack for up to 0.7 s."""
    write(path, from_pattern(2.4), **X264)
    content = bytearray(path.read_bytes())
    frames = 0
    for at in range(0, len(content), 188):
        is_video = (content[at + 1] & 31) << 8 | content[at + 2] == 256
        if not is_video or not content[at + 1] & 64:  # no frame begins here
            continue
        pes = at + 4 + (1 + content[at + 4] if content[at + 3] & 32 else 0)
        if frames % 3 != 1:
            content[pes + 7] &= 63  # neither stamp is there
            fields = pes + 9
            content[fields : fields + content[pes + 8]] = b"\xff" * content[pes + 8]
        frames += 1
    path.write_bytes(bytes(content))


def _sparsely_stamped_times(path: Path) -> Sequence[Fraction]:
    begin = next(frame.seconds for frame in frames_of(path) if frame.seconds is not None)
    unstamped = next(number for number, frame in enumerate(frames_of(path)) if frame.seconds is not None)
    return [begin + Fraction(number - unstamped, 25) for number in range(60)]


def two_recordings(folder: Path, suffix: str = ".ts", **options: object) -> list[Path]:
    """Two recordings, the second longer, with sound that outlasts or falls short of the picture a little."""
    paths = [folder / f"first{suffix}", folder / f"second{suffix}"]
    for path, seconds in zip(paths, (2, 2.6), strict=True):
        write(path, from_pattern(seconds, sound=True), **{**X264, "acodec": "mp2", **options})
    return paths


def _concatenated(recordings: Callable[[Path], Sequence[Path]]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        folder = path.with_name(f"parts-{path.name}")
        folder.mkdir()
        parts = recordings(folder)
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        for part in parts:
            part.unlink()
        folder.rmdir()

    return make


def _after_a_later_one(folder: Path) -> list[Path]:
    """The first recording was taken hours after the second, so the clock goes back by hours."""
    late, early = folder / "late.ts", folder / "early.ts"
    write(late, from_pattern(2, sound=True), **X264, acodec="mp2", output_ts_offset=20000)
    write(early, from_pattern(2, sound=True), **X264, acodec="mp2")
    return [late, early]


def _wrap(path: Path) -> None:
    """The 33-bit clock runs over in the middle."""
    begin = (2**33 - 90000) / 90000
    write(path, from_pattern(2.4, sound=True), **X264, acodec="mp2", output_ts_offset=f"{begin:.6f}", mpegts_copyts=1)


def _before_zero(path: Path) -> Fraction:
    """Seconds from the first packet of a file to zero: a clock that is about to run over is told as negative."""
    with av.open(str(path)) as container:
        return -min(packet.pts * packet.time_base for packet in container.demux() if packet.size)


def _wrap_times(path: Path) -> Sequence[Fraction]:
    return [frame.seconds + _before_zero(path) for frame in frames_of(path)]


def _sound_lasts_longer(path: Path) -> None:
    make_video(path, Clip(frames=40, b_frames=2, audio=(Audio(seconds=4),)))


def _picture_lasts_longer(path: Path) -> None:
    make_video(path, Clip(frames=80, b_frames=2, audio=(Audio(seconds=1),)))


def _negative_first(path: Path) -> None:
    """The picture begins 0.2 s before the sound, at a negative time."""
    full = path.with_name(f"full-{path.stem}.mp4")
    make_video(full, Clip(frames=60, b_frames=2, audio=(Audio("libmp3lame", seconds=2),)))
    sides = [ffmpeg.input(str(full), itsoffset=-0.2).video, ffmpeg.input(str(full)).audio]
    write(path, sides, c="copy", avoid_negative_ts="disabled")
    full.unlink()


def _every_40_ms(path: Path) -> Sequence[Fraction]:
    return [Fraction(number, 25) for number in range(60)]


def _stamped_field_pictures(path: Path) -> None:
    """Each field is a packet with a stamp of its own, as broadcasts have them."""
    raw = path.with_name(f"raw-{path.name}.h264")
    write_field_pictures(raw)
    with av.open(str(raw)) as fields, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(fields.streams.video[0])
        for number, packet in enumerate(packet for packet in fields.demux() if packet.size):
            packet.stream, packet.time_base = stream, Fraction(1, 50)
            packet.pts = packet.dts = number
            out.mux_one(packet)
    raw.unlink()


def _field_pictures_times(path: Path) -> Sequence[Fraction]:
    return [Fraction(number, 25) for number in range(50)]


SPECIMENS: tuple[Specimen, ...] = (
    Specimen(
        "29.97.mp4", "timing", "30000/1001 frames a second", clip(rate=Fraction(30000, 1001), frames=60, b_frames=2)
    ),
    Specimen(
        "23.976.mkv",
        "timing",
        "24000/1001 frames a second in milliseconds",
        clip(rate=Fraction(24000, 1001), frames=48, b_frames=2),
    ),
    Specimen("59.94.ts", "timing", "60000/1001 frames a second", pattern(rate="60000/1001", **X264)),
    Specimen(
        "day and night.mkv",
        "timing",
        "CCTV: 25 frames a second by day, 5 by night",
        clip(pts=DAY_AND_NIGHT, rate=Fraction(25), b_frames=2),
    ),
    Specimen("phone.mp4", "timing", "A phone's variable frame rate", _phone),
    Specimen(
        "milliseconds.mp4",
        "timing",
        "a time base of 1/1000, every frame off by up to 9 ms",
        clip(pts=jittered(40, 9, 60), time_base=MS, b_frames=2, muxer_options={"video_track_timescale": "1000"}),
    ),
    Specimen(
        "jitter.mp4",
        "timing",
        "1/90000 with every frame off by up to 1000 ticks",
        clip(
            pts=jittered(3600, 1000, 60), time_base=CLOCK, b_frames=2, muxer_options={"video_track_timescale": "90000"}
        ),
    ),
    Specimen(
        "odd time base.mp4",
        "timing",
        "a time base of 1/704969",
        clip(
            pts=jittered(28199, 5, 50), time_base=Fraction(1, 704969), muxer_options={"video_track_timescale": "704969"}
        ),
    ),
    Specimen("slow.mp4", "timing", "a frame in ten seconds", clip(rate=Fraction(1, 10), frames=6)),
    Specimen(
        "gap.mkv",
        "timing",
        "five seconds without a frame in the middle",
        clip(pts=[*range(30), *range(155, 185)], b_frames=2),
    ),
    Specimen("one frame.mp4", "timing", "a single frame", clip(frames=1)),
    Specimen("two frames.mkv", "timing", "two frames", clip(frames=2)),
    Specimen("far from zero.ts", "timing", "begins 13 hours after zero", pattern(**X264, output_ts_offset=47000)),
    Specimen(
        "before zero.mkv",
        "timing",
        "begins at a negative time",
        _negative_first,
        times=_every_40_ms,
        moved=Fraction(1, 5),
    ),
    Specimen("long sound.mp4", "timing", "sound that lasts longer than the picture", _sound_lasts_longer),
    Specimen("short sound.mp4", "timing", "sound that ends before the picture", _picture_lasts_longer),
    Specimen(
        "pyramid.mp4",
        "timing",
        "B-frames that B-frames refer to",
        pattern(**{**X264, "bf": 7}, **{"b-pyramid": "normal"}),
    ),
    Specimen("open gop.mp4", "timing", "H.264 with open GOPs", clip(frames=60, b_frames=3, options=OPEN_GOP)),
    Specimen(
        "hevc open gop.mkv", "timing", "HEVC with open GOPs", clip(frames=60, codec="libx265", options=HEVC_OPEN_GOP)
    ),
    Specimen("one gop.mp4", "timing", "one keyframe in 600 frames", clip(frames=600, gop=600, b_frames=2)),
    Specimen("intra only.mkv", "timing", "keyframes only", clip(frames=50, gop=1)),
    Specimen(
        "intra refresh.ts",
        "timing",
        "no keyframe but the first: columns are refreshed in turn",
        clip(frames=75, gop=25, options=INTRA_REFRESH),
    ),
    Specimen("wrap.ts", "timing", "the 33-bit clock runs over", _wrap, times=_wrap_times, moved=_before_zero),
    Specimen(
        "two recordings.ts",
        "timing",
        "two recordings end to end: the clock begins anew",
        _concatenated(two_recordings),
        recordings=two_recordings,
    ),
    Specimen(
        "clock set back.ts",
        "timing",
        "two recordings, the later one first: the clock goes back by hours",
        _concatenated(_after_a_later_one),
        recordings=_after_a_later_one,
    ),
    Specimen(
        "repeated stamps.mkv",
        "timing",
        "every tenth frame has the timestamp of the one before",
        _every_tenth_twice,
        times=_every_tenth_twice_times,
    ),
    Specimen(
        "no duration.mp4",
        "timing",
        "a frame that is shown for no time: the next one has its timestamp",
        _of_no_duration,
        times=_of_no_duration_times,
    ),
    Specimen(
        "wrong stamps.flv",
        "timing",
        "two frames with a wrong timestamp: an hour too late, and zero",
        _with_outliers,
        times=_every_40_ms,
    ),
    Specimen(
        "wrong offsets.flv",
        "timing",
        "two frames with a wrong offset from decoding to showing: 40 s, and two seconds back",
        _with_wrong_offsets,
        times=_every_40_ms,
    ),
    Specimen(
        "sparse stamps.ts",
        "timing",
        "one frame in three has a timestamp",
        _sparsely_stamped,
        times=_sparsely_stamped_times,
    ),
    Specimen(
        "clock steps back.flv",
        "timing",
        "the clock steps back by 300 ms",
        _stepping_back,
        times=_stepping_back_times,
    ),
    Specimen(
        "fields.h264",
        "timing",
        "raw H.264 whose frames are coded as two fields each (PAFF)",
        write_field_pictures,
        times=_field_pictures_times,
    ),
    Specimen(
        "fields.ts",
        "timing",
        "frames coded as two fields, each with its timestamp, in MPEG-TS",
        _stamped_field_pictures,
        times=_field_pictures_times,
    ),
    Specimen("fields.mp4", "timing", "the same in MP4", _stamped_field_pictures, times=_field_pictures_times),
)
