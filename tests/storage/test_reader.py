"""Reading shard by shard gives what reading the whole file gives: the same pts, the same pixels, once each."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from storage import seeking, splicing
from storage.errors import SourceError
from storage.reader import ReadingLosses, read_frames
from storage.shards import PtsRange, Shard
from storage.store import Store
from tests.conftest import S3Server
from tests.media import Audio, Clip, decoded_by_pyav, make_video, planes_digest, shards_of, whole

INTRA_REFRESH = {"x264-params": "intra-refresh=1:keyint=50:scenecut=0:bframes=0"}
OPEN_GOP = {"x264-params": "open-gop=1:bframes=2:b-adapt=0:scenecut=0:keyint=10:min-keyint=10"}
JITTERED = [0, 1, 3, 4, 9, 10, 11, 30, 31, 33, 60, 61, 62, 63, 64, 66, 99, 100, 101, 102]
DAY_AND_NIGHT = [*range(20), *range(20, 80, 5), *range(80, 100)]

VIDEOS = {
    "mp4": ("a.mp4", Clip()),
    "mp4 with B-frames": ("a.mp4", Clip(b_frames=2)),
    "mp4 with B-frames and sound": ("a.mp4", Clip(b_frames=3, audio=(Audio(),))),
    "mp4 with open GOPs": ("a.mp4", Clip(frames=40, b_frames=2, options=OPEN_GOP)),
    "mp4 with one keyframe": ("a.mp4", Clip(frames=60, gop=600, b_frames=2)),
    "mp4 of keyframes only": ("a.mp4", Clip(gop=1)),
    "mp4 fragmented": ("a.mp4", Clip(b_frames=2, muxer_options={"movflags": "frag_keyframe+empty_moov"})),
    "mp4 that starts late": ("a.mp4", Clip(b_frames=2, pts=[100 + at for at in range(25)])),
    "mp4 with intra refresh": ("a.mp4", Clip(frames=150, gop=50, options=INTRA_REFRESH)),
    "mp4 with VFR": ("a.mp4", Clip(pts=JITTERED, b_frames=2, time_base=Fraction(1, 90))),
    "mov": ("a.mov", Clip(b_frames=2)),
    "mkv": ("a.mkv", Clip(b_frames=2)),
    "mkv with VFR": ("a.mkv", Clip(pts=DAY_AND_NIGHT, rate=Fraction(25), b_frames=2)),
    "mkv with intra refresh": ("a.mkv", Clip(frames=150, gop=50, options=INTRA_REFRESH)),
    "mkv of 29.97": ("a.mkv", Clip(rate=Fraction(30000, 1001), b_frames=2)),
    "webm of VP9": ("a.webm", Clip(codec="libvpx-vp9")),
    "webm of VP8": ("a.webm", Clip(codec="libvpx")),
    "mpegts": ("a.ts", Clip(frames=60, b_frames=2, audio=(Audio("mp2"),))),
    "mpegts with open GOPs": ("a.ts", Clip(frames=60, b_frames=2, options=OPEN_GOP)),
    "mpegts with intra refresh": ("a.ts", Clip(frames=150, gop=50, options=INTRA_REFRESH)),
    "mpegts with one keyframe": ("a.ts", Clip(frames=60, gop=600, b_frames=2)),
    "mpegts far from zero": (
        "a.ts",
        Clip(frames=60, b_frames=2, time_base=Fraction(1, 90000), pts=[2**32 + 3600 * at for at in range(60)]),
    ),
    "mpegts of MPEG-2": ("a.ts", Clip(frames=60, codec="mpeg2video", b_frames=2)),
    "mpegts of HEVC": ("a.ts", Clip(frames=40, codec="libx265", b_frames=3)),
    "avi of MPEG-4": ("a.avi", Clip(codec="mpeg4")),
    "avi of MPEG-4 with B-frames": ("a.avi", Clip(codec="mpeg4", b_frames=2)),
    "avi of H.264 with B-frames": ("a.avi", Clip(b_frames=2)),
    "avi of motion JPEG": ("a.avi", Clip(codec="mjpeg", pix_fmt="yuvj420p")),
    "mpeg-ps of MPEG-2": ("a.mpg", Clip(frames=60, codec="mpeg2video", b_frames=2, muxer="vob")),
    "mpeg-ps with many frames in a packet": ("a.mpg", Clip(frames=70, codec="mpeg2video", muxer="vob")),
    "mpeg-ps of MPEG-1": ("a.mpg", Clip(frames=60, codec="mpeg1video", b_frames=2, muxer="mpeg")),
    "gif": ("a.gif", Clip(codec="gif", pix_fmt="rgb8")),
    "HEVC": ("a.mp4", Clip(codec="libx265", b_frames=3)),
    "HEVC with open GOPs": (
        "a.mkv",
        Clip(
            frames=40,
            codec="libx265",
            options={"x265-params": "log-level=error:pools=1:open-gop=1:bframes=3:keyint=10:min-keyint=10"},
        ),
    ),
    "10 bit": ("a.mp4", Clip(pix_fmt="yuv420p10le", b_frames=2)),
    "odd size": ("a.mp4", Clip(size=(65, 49), pix_fmt="yuv444p")),
    "flv": ("a.flv", Clip(b_frames=2)),
}


@pytest.mark.parametrize("shard_seconds", [Fraction(1, 10), Fraction(3, 10), Fraction(1), Fraction(3)], ids=str)
@pytest.mark.parametrize("name", VIDEOS)
def test_shards_together_are_the_whole_file(name: str, shard_seconds: Fraction, tmp_path: Path) -> None:
    file_name, clip = VIDEOS[name]
    path = make_video(tmp_path / file_name, clip)
    made = len(clip.pts) if clip.pts is not None else clip.frames
    everything = [(frame.pts, planes_digest(frame)) for frame in read_frames(whole(path), Store())]
    assert len(everything) == made
    in_shards = [
        (frame.pts, planes_digest(frame))
        for shard in shards_of(path, shard_seconds)
        for frame in read_frames(shard, Store())
    ]
    assert in_shards == everything
    assert [digest for _, digest in everything] == [digest for _, digest in decoded_by_pyav(path)]


@pytest.mark.parametrize("name", [name for name in VIDEOS if not name.startswith("avi of")])
def test_frames_carry_the_pts_of_the_files_packets(name: str, tmp_path: Path) -> None:
    file_name, clip = VIDEOS[name]
    path = make_video(tmp_path / file_name, clip)
    with av.open(str(path)) as container:
        packets = sorted(packet.pts for packet in container.demux(video=0) if packet.pts is not None)
    assert [frame.pts for frame in read_frames(whole(path), Store())] == packets


@pytest.mark.parametrize("name", ["avi of MPEG-4 with B-frames", "avi of H.264 with B-frames"])
def test_frames_of_a_container_without_pts_are_a_frame_apart_in_display_order(name: str, tmp_path: Path) -> None:
    file_name, clip = VIDEOS[name]
    path = make_video(tmp_path / file_name, clip)
    pts = [frame.pts for frame in read_frames(whole(path), Store())]
    assert pts == list(range(pts[0] or 0, (pts[0] or 0) + clip.frames))


@pytest.mark.parametrize("name", ["mp4 with open GOPs", "mkv with VFR", "mpegts", "mpeg-ps of MPEG-2"])
def test_any_window_gives_exactly_its_frames(name: str, tmp_path: Path) -> None:
    file_name, clip = VIDEOS[name]
    path = make_video(tmp_path / file_name, clip)
    shard = whole(path)
    everything = [(int(frame.pts or 0), planes_digest(frame)) for frame in read_frames(shard, Store())]
    for first in range(0, len(everything), 7):
        start = everything[first][0]
        for end in (start + 1, everything[min(first + 3, len(everything) - 1)][0] + 1):
            wanted = PtsRange(start, end)
            got = [(frame.pts, planes_digest(frame)) for frame in read_frames(shard, Store(), wanted=wanted)]
            assert got == [item for item in everything if start <= item[0] < end]


def test_a_range_without_frames_gives_none(tmp_path: Path) -> None:
    shard = whole(make_video(tmp_path / "a.mp4"))
    assert list(read_frames(shard, Store(), wanted=PtsRange(10**7, 10**8))) == []
    assert list(read_frames(shard, Store(), wanted=PtsRange(1, 512))) == []


def _with_broken_packet(source: Path, target: Path, number: int) -> None:
    """A copy in which packet `number` of the video is noise."""
    with av.open(str(source)) as container, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        for at, packet in enumerate(container.demux(video=0)):
            if packet.size == 0:
                continue
            if at == number:
                broken = av.Packet(b"\xff" * packet.size)
                broken.pts, broken.dts, broken.time_base = packet.pts, packet.dts, packet.time_base
                broken.is_keyframe = packet.is_keyframe
                packet = broken
            packet.stream = stream
            out.mux_one(packet)


@pytest.mark.parametrize("shard_seconds", [Fraction(3, 10), Fraction(3)], ids=str)
def test_a_corrupt_packet_is_counted_and_costs_no_other_frame(shard_seconds: Fraction, tmp_path: Path) -> None:
    good = make_video(tmp_path / "good.mp4", Clip(gop=1))
    bad = tmp_path / "bad.mp4"
    _with_broken_packet(good, bad, 12)
    losses = ReadingLosses()
    pts = [frame.pts for shard in shards_of(bad, shard_seconds) for frame in read_frames(shard, Store(), losses=losses)]
    expected = [at for at, _ in decoded_by_pyav(good)]
    assert pts == expected[:12] + expected[13:]
    assert losses.corrupt_packets >= 1


def test_what_vp8_makes_of_damage_does_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.webm", Clip(frames=60, codec="libvpx"))
    with av.open(str(path)) as container:
        packets = [(packet.pos or 0, bytes(packet)) for packet in container.demux(video=0) if packet.size]
    content, chance = bytearray(path.read_bytes()), random.Random(0)
    for position, packet in packets[::3]:
        content[content.index(packet, position) + chance.randrange(6, 9)] = chance.randrange(256)
    path.write_bytes(content)
    on_one, on_two = (list(read_frames(whole(path), Store(), threads=threads)) for threads in (1, 2))
    assert [(frame.pts, planes_digest(frame)) for frame in on_two] == [
        (frame.pts, planes_digest(frame)) for frame in on_one
    ]
    assert (on_one[0].pts, len(on_one)) == (whole(path).probe.first_pts, 60)


def test_losses_of_a_seek_that_came_too_late_are_not_counted(tmp_path: Path) -> None:
    good = make_video(tmp_path / "good.mp4", Clip(gop=1, frames=50))
    bad = tmp_path / "bad.mp4"
    _with_broken_packet(good, bad, 40)  # a seek to frame 40 finds nothing at or before it to give
    losses = ReadingLosses()
    pts = [frame.pts for frame in read_frames(whole(bad), Store(), wanted=PtsRange(40 * 512, None), losses=losses)]
    assert pts == [512 * at for at in range(41, 50)]
    assert losses.corrupt_packets == 1


def test_a_demuxer_that_gives_up_is_told_the_same_every_time(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.y4m", Clip(frames=60, codec="wrapped_avframe", muxer="yuv4mpegpipe"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + b"\xff" * (len(content) // 2))
    told = []
    for _ in range(2):
        losses = ReadingLosses()
        assert 10 < len(list(read_frames(whole(path), Store(), losses=losses))) < 60
        told.append(losses.messages)
    assert told[0] == told[1] == ["demuxing stopped early: Invalid data found when processing input"]


def test_the_first_three_different_messages_are_kept_short() -> None:
    losses = ReadingLosses()
    for message in ("one\n line", "one line", "two", "x" * 1000, "four"):
        losses.note(message)
    assert losses.messages == ["one line", "two", "x" * 100]


def test_a_truncated_file_gives_the_frames_that_are_there(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.ts", Clip(frames=100, gop=5))
    complete = decoded_by_pyav(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    pts = [frame.pts for shard in shards_of(path) for frame in read_frames(shard, Store())]
    assert 40 <= len(pts) <= 60
    assert pts == [at for at, _ in complete][: len(pts)]


def _read(*shards: Shard) -> list[tuple[int | None, str]]:
    return [(frame.pts, planes_digest(frame)) for shard in shards for frame in read_frames(shard, Store())]


def test_what_only_a_seek_reaches_behind_damage_is_in_no_shard(tmp_path: Path) -> None:
    """An index that claims a sample larger than the file ends the reading there, while a seek gets past it."""
    path = make_video(tmp_path / "a.mp4", Clip(frames=70, audio=(Audio(seconds=2.5),)))
    content = bytearray(path.read_bytes())
    sizes_of_sound = content.rindex(b"stsz") + 16
    content[sizes_of_sound + 4 * 50 + 2] = 250
    path.write_bytes(content)
    everything = _read(whole(path))
    assert 40 < len(everything) < 70
    assert _read(*shards_of(path, Fraction(1, 2))) == everything


def test_behind_damage_in_avi_the_index_does_not_tell_other_times_than_the_packets(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.avi", Clip(frames=70, codec="mpeg4", audio=(Audio("libmp3lame", seconds=2.5),)))
    content = bytearray(path.read_bytes())
    for number in (45, 30, 15):
        at = content.index(b"movi")
        for _ in range(number):
            at = content.index(b"00dc", at + 4)
        content[at + 2] = 255  # the chunk's kind cannot be read
    path.write_bytes(content)
    everything = _read(whole(path))
    assert 60 < len(everything) < 70
    assert _read(*shards_of(path, Fraction(1, 2))) == everything


def test_a_raw_stream_has_the_times_that_reading_on_gives_not_those_that_a_seek_does(tmp_path: Path) -> None:
    without_first_keyframe = make_video(tmp_path / "a.m2v", Clip(frames=70, codec="mpeg2video", b_frames=2))
    without_first_keyframe.write_bytes(without_first_keyframe.read_bytes()[200:])
    whole_h263 = make_video(tmp_path / "a.h263", Clip(frames=50, size=(128, 96), codec="h263"))
    for path in (without_first_keyframe, whole_h263):
        everything = [frame.pts for frame in read_frames(whole(path), Store())]
        in_shards = [frame.pts for shard in shards_of(path, Fraction(1, 2)) for frame in read_frames(shard, Store())]
        assert len(everything) >= 50
        assert in_shards == everything


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video"])
def test_a_program_stream_is_read_from_its_middle_without_a_walk_there(
    codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splicing, "_HEAD_BYTES", 188 * 200)
    muxer = "vob" if codec == "mpeg2video" else "mpeg"
    fine = {"qmin": "1", "qmax": "2"}  # every frame is larger than a packet, so each has a time and a place
    clip = Clip(frames=100, size=(320, 240), codec=codec, muxer=muxer, options=fine)
    path = make_video(tmp_path / "a.mpg", clip)
    shard = whole(path)
    everything = [int(frame.pts or 0) for frame in read_frames(shard, Store())]
    assert len(everything) == 100
    monkeypatch.delattr(seeking, "_from_number")  # which is how the middle is found otherwise
    for first in (50, 75, 95):
        found = [frame.pts for frame in read_frames(shard, Store(), wanted=PtsRange(everything[first], None))]
        assert found == everything[first:]


def test_a_file_that_changed_since_it_was_found_is_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    shard = whole(path)
    shutil.copy(make_video(tmp_path / "other.mp4", Clip(seed=5, frames=30)), path)
    with pytest.raises(SourceError, match="changed"):
        list(read_frames(shard, Store()))


def test_a_file_that_was_only_written_again_is_refused_too(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    shard = whole(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceError, match="changed"):
        list(read_frames(shard, Store()))


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    shard = whole(path)
    path.unlink()
    with pytest.raises(SourceError, match=r"a\.mp4: the file is gone since the job began"):
        list(read_frames(shard, Store()))


def test_another_stream_than_the_probed_one_is_refused(tmp_path: Path) -> None:
    shard = whole(make_video(tmp_path / "a.mp4"))
    with pytest.raises(SourceError, match="changed"):
        list(read_frames(replace(shard, probe=replace(shard.probe, time_base=Fraction(1, 7))), Store()))


@pytest.mark.parametrize("name", ["mp4 with B-frames", "mpegts", "mkv"])
def test_reading_from_s3_gives_what_the_file_gives(name: str, tmp_path: Path, s3: S3Server) -> None:
    file_name, clip = VIDEOS[name]
    path = make_video(tmp_path / file_name, clip)
    bucket = s3.make_bucket()
    s3.filesystem().put_file(str(path), f"{bucket}/{file_name}")
    store = Store(s3.endpoint)
    url = f"{bucket}/{file_name}"
    shards = [
        replace(shard, source=replace(shard.source, url=url, identity=store.identity(url)))
        for shard in shards_of(path, Fraction(3, 10))
    ]
    got = [(frame.pts, planes_digest(frame)) for shard in shards for frame in read_frames(shard, store)]
    assert got == [(frame.pts, planes_digest(frame)) for frame in read_frames(whole(path), Store())]
