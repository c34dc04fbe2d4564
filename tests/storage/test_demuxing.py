"""All packets of a container come out, whatever appears on the way."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from storage.assembly import assemble_video
from storage.checks import Side, Terms
from storage.containers import choose_container
from storage.demuxing import demuxed
from storage.descriptions import late_streams
from storage.media_index import FrameIndex, MediaIndex, index_media
from storage.probe import OtherStream, probe_video
from storage.reader import read_frames
from storage.store import Store
from storage.verification import compare
from tests.media import Audio, Clip, encode_segments, make_video, whole

TEXT = b"\2\0\x0aonTextData\x08\0\0\0\2\0\4type\2\0\4Text\0\4text\2\0\2hi\0\0\x09"
"""An AMF object that FLV carries as a caption: FFmpeg makes it a stream of its own."""


def _with_a_late_caption(path: Path) -> Path:
    """An FLV in which a stream of captions appears only near the end."""
    content = make_video(path, Clip(frames=400, audio=(Audio("libmp3lame", seconds=16),))).read_bytes()
    at = 13
    while at < len(content) * 3 // 4:
        at += 11 + int.from_bytes(content[at + 1 : at + 4], "big") + 4
    tag = b"\x12" + len(TEXT).to_bytes(3, "big") + content[at + 4 : at + 8] + bytes(3) + TEXT
    path.write_bytes(content[:at] + tag + len(tag).to_bytes(4, "big") + content[at:])
    return path


def test_a_stream_that_appears_midway_ends_nothing(tmp_path: Path) -> None:
    path = _with_a_late_caption(tmp_path / "a.flv")
    with av.open(str(path)) as container:
        assert len(container.streams) == 2
        found = [packet.stream_index for packet in demuxed(container) if packet.size]
    assert found.count(0) == 400
    assert found.count(1) > 600
    assert len(list(read_frames(whole(path), Store()))) == 400


def test_a_stream_that_appears_midway_is_named(tmp_path: Path) -> None:
    path = _with_a_late_caption(tmp_path / "a.flv")
    probe = probe_video(str(path), Store())
    assert probe.other_streams[1:] == (OtherStream(2, "subtitle", "text", is_late=True),)
    choice = choose_container(probe, "a.flv", "h264")
    assert choice.left_out == probe.other_streams[1:]
    segments = encode_segments([whole(path)], tmp_path / "segments")
    report = assemble_video(str(path), "a.flv", probe, segments, tmp_path / "a.mp4", choice)
    assert report.streams_left_out == ["2:subtitle:text"]
    assert report.streams_copied == 1
    assert any("stream 2 (subtitle, text) (named in the manifest)" in line for line in report.allowed)


def test_without_a_manifest_that_names_it_a_result_lacks_a_stream_that_appears_midway(tmp_path: Path) -> None:
    path = _with_a_late_caption(tmp_path / "a.flv")
    probe = probe_video(str(path), Store())
    before, after = (index_media(str(path), "a", bare=False, threads=1) for _ in range(2))
    after.streams = after.streams[:2]
    states = {
        terms: [check.state for check in compare(Side(before, probe), _frames(before), Side(after, probe), terms)]
        for terms in (Terms(), Terms(left_out=frozenset((2,))))
    }
    assert [states[terms].count("fault") for terms in states] == [1, 0]


def _frames(index: MediaIndex) -> FrameIndex:
    assert index.frames is not None
    return index.frames


@pytest.mark.parametrize("suffix", ["ts", "mkv", "mp4"])
def test_streams_that_are_there_from_the_start_are_not_late(suffix: str, tmp_path: Path) -> None:
    path = make_video(tmp_path / f"a.{suffix}", Clip(audio=(Audio("mp2"), Audio("mp2", language="nld"))))
    with av.open(str(path)) as container:
        assert sum(1 for packet in demuxed(container) if packet.size) > 25
        assert late_streams(container) == []
