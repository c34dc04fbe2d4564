"""What a video is told to be before work is planned, and which files are refused, by name."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from storage.errors import SourceError
from storage.probe import probe_video
from storage.reader import read_frames
from storage.store import Store
from tests.media import Audio, Clip, make_video, piped, shards_of, whole, with_aspect

RAW = {
    "a.mjpeg": Clip(frames=100, codec="mjpeg", pix_fmt="yuvj420p"),
    "a.m1v": Clip(frames=100, codec="mpeg1video"),
    "a.mkv": Clip(frames=100, codec="mjpeg", pix_fmt="yuvj420p", muxer="mjpeg"),
}


def test_a_header_is_told_as_it_is(tmp_path: Path) -> None:
    clip = Clip(
        pts=range(5, 30), b_frames=2, audio=(Audio(), Audio("libmp3lame")), sample_aspect_ratio=Fraction(12, 11)
    )
    probe = probe_video(str(make_video(tmp_path / "a.mp4", clip)), Store())
    assert (probe.width, probe.height, probe.pix_fmt, probe.codec) == (64, 48, "yuv420p", "h264")
    assert probe.first_pts * probe.time_base == Fraction(5, 25)
    assert probe.frame_ticks * probe.time_base == Fraction(1, 25)
    assert probe.sample_aspect_ratio == Fraction(12, 11)
    assert [(other.index, other.kind, other.codec) for other in probe.other_streams] == [
        (1, "audio", "aac"),
        (2, "audio", "mp3float"),
    ]


@pytest.mark.parametrize("rotation", [0, 90, -90, 180])
def test_rotation_is_told(rotation: int, tmp_path: Path) -> None:
    probe = probe_video(str(make_video(tmp_path / "a.mp4", Clip(rotation=rotation))), Store())
    assert abs(probe.rotation) == 180 if rotation == 180 else probe.rotation == rotation
    assert (probe.width, probe.height) == (64, 48)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_an_aspect_that_only_the_container_knows_is_told(name: str, tmp_path: Path) -> None:
    path = with_aspect(make_video(tmp_path / f"square-{name}"), "16:9", tmp_path / name)
    assert probe_video(str(path), Store()).sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize("name", ["a.mjpeg", "a.m1v", "a.mkv"])
def test_a_duration_that_the_header_does_not_tell_is_measured(name: str, tmp_path: Path) -> None:
    path = make_video(tmp_path / name, RAW[name])
    if name == "a.mkv":
        path = piped(path, tmp_path / "piped.mkv")
    probe = probe_video(str(path), Store())
    assert probe.seconds == pytest.approx(4, abs=0.05)
    shards = shards_of(path)
    assert len(shards) == 4
    counts = [len(list(read_frames(shard, Store()))) for shard in shards]
    assert sum(counts) == 100
    assert min(counts) >= 24


def test_a_source_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to(tmp_path / "absent.mp4")
    with pytest.raises(SourceError, match=r"a\.mp4: cannot be read: not found"):
        probe_video(str(tmp_path / "a.mp4"), Store())


def test_full_range_is_told(tmp_path: Path) -> None:
    limited = probe_video(str(make_video(tmp_path / "a.mp4")), Store())
    full = probe_video(str(make_video(tmp_path / "b.mp4", Clip(full_range=True))), Store())
    assert (limited.color_range, full.color_range) == (1, 2)


def test_mp4s_own_chapter_track_is_no_stream_of_the_source(tmp_path: Path) -> None:
    clip = Clip(chapters=((0, 0.5, "one"), (0.5, 1, "two")), audio=(Audio(),))
    path = make_video(tmp_path / "a.mp4", clip)
    with av.open(str(path)) as container:
        assert len(container.streams) == 3
    assert [other.kind for other in probe_video(str(path), Store()).other_streams] == ["audio"]


def test_attachments_are_streams(tmp_path: Path) -> None:
    probe = probe_video(str(make_video(tmp_path / "a.mkv", Clip(attachment=b"x"))), Store())
    assert [other.kind for other in probe.other_streams] == ["attachment"]


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(SourceError, match=r"a\.mp4: the file is empty"):
        probe_video(str(tmp_path / "a.mp4"), Store())


def test_what_is_no_media_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"this is no video\n" * 100)
    with pytest.raises(SourceError, match=r"a\.mp4: cannot be opened as media"):
        probe_video(str(tmp_path / "a.mp4"), Store())


def test_a_file_cut_before_its_index_is_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(SourceError, match=r"a\.mp4: cannot be opened as media"):
        probe_video(str(path), Store())


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=48000)
        stream.codec_context.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(SourceError, match=r"a\.m4a: no video stream \(it has audio\)"):
        probe_video(str(tmp_path / "a.m4a"), Store())


def test_a_picture_without_pixels_cannot_be_probed(tmp_path: Path) -> None:
    probe = probe_video(str(make_video(tmp_path / "a.mp4")), Store())
    with pytest.raises(SourceError, match="is not a picture"):
        replace(probe, width=0)


def test_a_wrong_suffix_does_not_matter(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv")
    path.rename(tmp_path / "a.mp4")
    assert probe_video(str(tmp_path / "a.mp4"), Store()).container == "matroska,webm"


def _with_unknown_codec(path: Path, tags: slice) -> Path:
    """An FLV of which some video tags claim a codec that FFmpeg does not know."""
    content = bytearray(make_video(path, Clip(frames=30, codec="flv")).read_bytes())
    at, videos = 13, []
    while at < len(content):
        if content[at] == 9:
            videos.append(at)
        at += 11 + int.from_bytes(content[at + 1 : at + 4], "big") + 4
    for tag in videos[tags]:
        content[tag + 11] = content[tag + 11] & 0xF0 | 11
    path.write_bytes(content)
    return path


def test_a_second_picture_of_an_unknown_codec_does_not_keep_the_first_from_being_read(tmp_path: Path) -> None:
    path = _with_unknown_codec(tmp_path / "a.flv", slice(12, 13))
    assert [other.codec for other in probe_video(str(path), Store()).other_streams] == [""]
    assert len(list(read_frames(whole(path), Store()))) == 29


def test_a_picture_of_an_unknown_codec_is_refused_by_name(tmp_path: Path) -> None:
    path = _with_unknown_codec(tmp_path / "a.flv", slice(None))
    with pytest.raises(SourceError, match=r"a\.flv: FFmpeg does not know the codec of its video"):
        probe_video(str(path), Store())
