"""The result keeps the source's container and name when that can hold it, else it gets the nearest that can."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.containers import choose_container
from storage.probe import OtherStream, VideoProbe
from tests.storage.test_shards import probe_of

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"


def probe_with(container: str, *codecs: tuple[str, str]) -> VideoProbe:
    others = tuple(
        OtherStream(number, kind, codec)  # type: ignore[arg-type]
        for number, (kind, codec) in enumerate(codecs, 1)
    )
    return replace(probe_of(), container=container, other_streams=others)


@pytest.mark.parametrize(
    ("container", "path", "muxer"),
    [
        (MP4, "deep/talk.mp4", "mp4"),
        (MP4, "talk.m4v", "mp4"),
        (MP4, "Talk.MOV", "mov"),
        ("matroska,webm", "talk.mkv", "matroska"),
        ("mpegts", "talk.ts", "mpegts"),
        ("mpegts", "talk.m2ts", "mpegts"),
    ],
)
def test_the_sources_container_and_name_are_kept(container: str, path: str, muxer: str) -> None:
    choice = choose_container(probe_with(container, ("audio", "aac")), path, "h264")
    assert (choice.muxer, choice.relative_path, choice.reason, choice.left_out) == (muxer, path, "", ())


@pytest.mark.parametrize(
    ("container", "path", "codec", "muxer", "result"),
    [
        ("avi", "a.avi", "mp3", "mp4", "a.avi.mp4"),
        ("mpeg", "deep/a.mpg", "ac3", "mp4", "deep/a.mpg.mp4"),
        ("avi", "a.avi", "pcm_s16le", "mp4", "a.avi.mp4"),
        ("ogg", "a.ogv", "vorbis", "mp4", "a.ogv.mp4"),
        ("mpegts", "a.ts", "pcm_s16le", "mp4", "a.ts.mp4"),
        (MP4, "a", "aac", "mp4", "a.mp4"),
        ("matroska,webm", "a.webm", "opus", "matroska", "a.webm.mkv"),
    ],
)
def test_another_container_is_appended_to_the_name(
    container: str, path: str, codec: str, muxer: str, result: str
) -> None:
    choice = choose_container(probe_with(container, ("audio", codec)), path, "h264")
    assert (choice.muxer, choice.relative_path) == (muxer, result)
    assert choice.left_out == ()


def test_a_changed_container_is_explained() -> None:
    assert "avi cannot hold h264" in choose_container(probe_with("avi"), "a.avi", "h264").reason


def test_attachments_ask_for_matroska() -> None:
    choice = choose_container(probe_with("avi", ("attachment", "")), "a.avi", "h264")
    assert (choice.muxer, choice.left_out) == ("matroska", ())


@pytest.mark.parametrize(("container", "path"), [("asf", "a.wmv"), ("avi", "a.avi")])
def test_sound_that_only_nut_takes_is_not_lost(container: str, path: str) -> None:
    choice = choose_container(probe_with(container, ("audio", "wmav2")), path, "h264")
    assert (choice.muxer, choice.relative_path, choice.left_out) == ("nut", f"{path}.nut", ())


@pytest.mark.parametrize("codec", ["dvbsub", "klv", "bin_data", "dca", "mp3float", "aac_latm"])
def test_a_transport_stream_keeps_what_belongs_in_one(codec: str) -> None:
    assert choose_container(probe_with("mpegts", ("data", codec)), "a.ts", "h264").muxer == "mpegts"


def test_a_time_code_track_stays_in_mov() -> None:
    choice = choose_container(probe_with(MP4, ("data", "tmcd")), "a.mov", "h264")
    assert (choice.muxer, choice.left_out) == ("mov", ())


def test_the_sources_container_is_kept_when_no_other_holds_more() -> None:
    choice = choose_container(probe_with(MP4, ("data", "")), "a.mp4", "h264")
    assert (choice.muxer, choice.reason, len(choice.left_out)) == ("mp4", "", 1)


def test_what_nothing_holds_is_left_out_by_name() -> None:
    probe = probe_with(MP4, ("audio", "aac"), ("data", ""))
    choice = choose_container(probe, "a.mp4", "h264")
    assert choice.left_out == (OtherStream(2, "data", ""),)


@pytest.mark.parametrize("container", [MP4, "matroska,webm", "mpegts"])
def test_hevc_is_held_wherever_h264_is(container: str) -> None:
    path = {MP4: "a.mp4", "matroska,webm": "a.mkv", "mpegts": "a.ts"}[container]
    assert choose_container(probe_with(container), path, "hevc").relative_path == path
