"""A long MP4 is read a page of its index at a time, and gives what it gives in one piece."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg
import imageio_ffmpeg
import pytest

from storage import paged_movie
from storage.demuxing import demuxed, seek
from storage.media_index import index_media
from storage.mp4_boxes import HEADER_BYTES
from storage.mp4_tables import UnusualMovieError
from storage.opening import open_container
from storage.paged_demuxing import PagedDemuxer
from storage.probe import main_video_stream, probe_video
from storage.reader import read_frames
from storage.shards import plan_shards
from storage.store import Store
from tests.media import Audio, Clip, make_video, planes_digest, whole

PAGE = 32


@pytest.fixture
def paged(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Lets even the smallest movie be paged, or none."""
    monkeypatch.setattr(paged_movie, "PAGE_PACKETS", PAGE)
    monkeypatch.setattr(paged_movie, "_LOOKED_INTO_FROM", 0)

    def switch(on: bool) -> None:
        monkeypatch.setattr(paged_movie, "PAGED_FROM", 1 if on else 1 << 60)

    switch(True)
    return switch


def _with_sound(path: Path, **options: Any) -> Path:
    return make_video(path, Clip(frames=100, b_frames=2, gop=12, audio=(Audio(seconds=4),), **options))


def _shown_before_decoded(path: Path) -> Path:
    return _with_sound(path, muxer_options={"movflags": "negative_cts_offsets"})


def _changing_rate(path: Path) -> Path:
    pts = [40 * number + 7 * (number % 5) for number in range(60)] + [2400 + 200 * number for number in range(60)]
    return make_video(path, Clip(pts=pts, time_base=Fraction(1, 1000), b_frames=2))


def _one_chunk(path: Path) -> Path:
    return make_video(path, Clip(frames=150, b_frames=2, gop=60))


def _bare_sound(path: Path) -> Path:
    return make_video(path, Clip(frames=100, audio=(Audio("pcm_s16le", seconds=4), Audio(start=1, seconds=3))))


def _by_ffmpeg(path: Path, **options: Any) -> Path:
    plain = _with_sound(path.with_name("plain.mp4"))
    output = ffmpeg.output(ffmpeg.input(str(plain)), str(path), c="copy", **options)
    output.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True)
    return path


def _moov_first(path: Path) -> Path:
    return _by_ffmpeg(path, movflags="faststart")


def _with_time_code(path: Path) -> Path:
    return _by_ffmpeg(path, timecode="01:00:00:00")


def _empty_sample(path: Path) -> Path:
    """The last one of a page has no bytes, and FFmpeg gives no packet of it."""
    return _changed(_with_sound(path), b"stsz", 12 + 4 * (PAGE - 1), bytes(4))


def _sound_of_one_tick(path: Path) -> Path:
    """A packet lasts a tick, as a sample does of sound that has no packets; but not the last one."""
    content = bytearray(_with_sound(path).read_bytes())
    durations, clock = content.rindex(b"stts"), content.rindex(b"mdhd")
    struct.pack_into(">5I", content, durations + 8, 2, 188, 1, 1, 2)
    struct.pack_into(">I", content, clock + 16, 47)
    edits = content.rindex(b"elst")
    struct.pack_into(">Ii", content, edits + 12, 1 << 20, 0)
    path.write_bytes(content)
    return path


def _frames_of_one_tick(path: Path) -> Path:
    return make_video(path, Clip(frames=100, muxer_options={"video_track_timescale": "25"}, gop=12))


_KINDS = {
    "b-frames.mp4": _with_sound,
    "negative offsets.mp4": _shown_before_decoded,
    "changing rate.mp4": _changing_rate,
    "one chunk.mp4": _one_chunk,
    "bare sound.mov": _bare_sound,
    "moov first.mp4": _moov_first,
    "time code.mov": _with_time_code,
    "frames of one tick.mp4": _frames_of_one_tick,
    "empty sample.mp4": _empty_sample,
    "sound of one tick.mp4": _sound_of_one_tick,
}


@pytest.fixture(params=_KINDS)
def movie(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return _KINDS[request.param](tmp_path / request.param)


def _packets(path: Path) -> list[tuple[Any, ...]]:
    with open_container(str(path), name=path.name) as container:
        return [
            (
                packet.stream.index,
                packet.pts,
                packet.dts,
                packet.duration,
                packet.time_base,
                packet.is_keyframe,
                packet.is_discard,
                [bytes(data) for data in packet.iter_sidedata()],
                hashlib.sha256(bytes(packet)).digest() if packet.size else b"",
            )
            for packet in demuxed(container)
        ]


def _pages(path: Path) -> list[int] | None:
    with paged_movie.paged_movie(str(path)) as found:
        return None if found is None else [len(track.pages) for track in found.tracks]


def test_pages_give_the_packets_of_the_whole_in_their_order(movie: Path, paged: Callable[[bool], None]) -> None:
    in_pages = _packets(movie)
    assert max(_pages(movie) or [0]) > 2
    paged(False)
    assert _pages(movie) is None
    assert in_pages == _packets(movie)


def test_shards_read_in_pages_are_those_of_the_whole(movie: Path, paged: Callable[[bool], None]) -> None:
    def shards() -> list[list[tuple[int | None, str]]]:
        shard = whole(movie)
        plan = plan_shards(shard.source, shard.probe, Fraction(3, 5))
        return [[(frame.pts, planes_digest(frame)) for frame in read_frames(each, Store())] for each in plan]

    in_pages = shards()
    paged(False)
    assert in_pages == shards()


def test_what_a_header_tells_is_told_of_the_whole(
    movie: Path, paged: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paged_movie, "PAGE_PACKETS", 100)  # more than FFmpeg looks at to find the rate
    in_pages = probe_video(str(movie), Store()), index_media(str(movie), "a", bare=False, threads=1).duration
    paged(False)
    assert in_pages == (probe_video(str(movie), Store()), index_media(str(movie), "a", bare=False, threads=1).duration)


def test_a_file_object_is_paged_like_a_path(tmp_path: Path, paged: Callable[[bool], None]) -> None:
    path = _with_sound(tmp_path / "a.mp4")
    with path.open("rb") as file, open_container(file, name="a") as container:
        found = [(packet.stream.index, packet.dts) for packet in demuxed(container)]
    paged(False)
    assert found == [(packet[0], packet[2]) for packet in _packets(path)]


def test_a_file_object_that_ffmpeg_sees_otherwise_is_read_whole_from_its_beginning(
    tmp_path: Path, paged: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any) -> None:
        raise UnusualMovieError("FFmpeg has other streams")

    file = io.BytesIO(_with_sound(tmp_path / "a.mp4").read_bytes())
    monkeypatch.setattr(PagedDemuxer, "__init__", refuses)
    with open_container(file, name="a") as container:
        assert sum(1 for packet in demuxed(container) if packet.size and packet.stream.type == "video") == 100


def test_a_movie_in_fragments_is_given_up_at_the_first(tmp_path: Path, paged: Callable[[bool], None]) -> None:
    """To look for them all would be a request to storage each."""
    content = _fragments(tmp_path / "a.mp4").read_bytes()
    file = _Counting(content)
    with paged_movie.paged_movie(file) as found:
        assert found is None
    assert file.reads < 40
    many = _Counting(struct.pack(">I4s", 8, b"free") * 1000)
    with paged_movie.paged_movie(many) as found:
        assert found is None
    assert many.reads < 100


class _Counting(io.BytesIO):
    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


def test_no_more_than_a_page_of_the_index_is_held(tmp_path: Path, paged: Callable[[bool], None]) -> None:
    path = _one_chunk(tmp_path / "a.mp4")
    with open_container(str(path), name="a") as container:
        assert len(main_video_stream(container, name="a").index_entries) == PAGE


@pytest.mark.parametrize("at", [0, 1, 31, 32, 33, 64, 99])
def test_a_seek_goes_to_a_keyframe_before(tmp_path: Path, paged: Callable[[bool], None], at: int) -> None:
    """Also from a page that has none before the wanted frame."""
    path = make_video(tmp_path / "a.mp4", Clip(frames=100, b_frames=2, gop=40))
    with open_container(str(path), name="a") as container:
        stream = main_video_stream(container, name="a")
        wanted = at * 512
        seek(container, stream, wanted)
        first, *rest = [packet for packet in demuxed(container, stream) if packet.size]
    assert first.is_keyframe
    assert first.pts is not None
    assert wanted - 40 * 512 < first.pts <= wanted
    assert 1 + len(rest) == 100 - first.pts // 512


def test_a_stream_is_read_again_from_its_beginning(tmp_path: Path, paged: Callable[[bool], None]) -> None:
    path = _with_sound(tmp_path / "a.mp4")
    with open_container(str(path), name="a") as container:
        stream = main_video_stream(container, name="a")
        seek(container, stream, 90 * 512)
        assert sum(1 for packet in demuxed(container, stream) if packet.size) < 20
        assert sum(1 for packet in demuxed(container, stream) if packet.size) == 100


def test_where_the_index_points_nowhere_it_is_told(tmp_path: Path, paged: Callable[[bool], None]) -> None:
    """FFmpeg ends there as if the file did; the sound would go on, and hide that the picture has ended."""
    path = _with_sound(tmp_path / "a.mp4")
    _changed(path, b"stco", 8 + 4 * 5, struct.pack(">I", 1 << 31))
    assert (_pages(path) or [0])[0] > 2
    with pytest.raises(av.error.FFmpegError, match="cannot be read"):
        _packets(path)
    assert any("may be cut" in remark for remark in probe_video(str(path), Store()).timeline.remarks)


def test_a_cover_picture_comes_along(tmp_path: Path, paged: Callable[[bool], None]) -> None:
    picture = make_video(tmp_path / "cover.png", Clip(frames=1, codec="png", pix_fmt="rgb24", muxer="image2"))
    film = ffmpeg.input(str(_with_sound(tmp_path / "plain.mp4")))
    output = ffmpeg.output(
        film, ffmpeg.input(str(picture)), str(tmp_path / "a.mp4"), c="copy", **{"disposition:v:1": "attached_pic"}
    )
    output.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True)
    in_pages = _packets(tmp_path / "a.mp4")
    assert _pages(tmp_path / "a.mp4") is not None
    paged(False)
    assert in_pages == _packets(tmp_path / "a.mp4")


def _fragments(path: Path) -> Path:
    return _with_sound(path, muxer_options={"movflags": "frag_keyframe"})


def _cut(path: Path) -> Path:
    content = _moov_first(path).read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    return path


def _open_ended(path: Path) -> Path:
    content = bytearray(_moov_first(path).read_bytes())
    at = content.index(b"mdat") - 4
    content[at : at + 4] = bytes(4)
    path.write_bytes(content)
    return path


def _hidden_end(path: Path) -> Path:
    return _changed(_with_sound(path), b"elst", 8, struct.pack(">I", 2000))


def _fewer_durations(path: Path) -> Path:
    return _changed(_with_sound(path), b"stts", 8, struct.pack(">I", 99))


def _larger_table(path: Path) -> Path:
    return _changed(_with_sound(path), b"stsz", 8, struct.pack(">I", 1 << 31))


def _chunks_out_of_order(path: Path) -> Path:
    return _changed(_with_sound(path), b"stsc", 8, struct.pack(">I", 7))


def _changed(path: Path, kind: bytes, at: int, entry: bytes) -> Path:
    """With other bytes, `at` behind the version of the first box of a kind."""
    content = bytearray(path.read_bytes())
    begin = content.index(kind) + 4 + at
    content[begin : begin + len(entry)] = entry
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "make", [_fragments, _cut, _open_ended, _hidden_end, _fewer_durations, _larger_table, _chunks_out_of_order]
)
def test_what_is_no_plain_movie_is_read_as_it_is(
    tmp_path: Path, paged: Callable[[bool], None], make: Callable[[Path], Path]
) -> None:
    assert _pages(make(tmp_path / "a.mp4")) is None


def test_other_files_are_none(tmp_path: Path, paged: Callable[[bool], None]) -> None:
    assert _pages(make_video(tmp_path / "a.mkv")) is None
    for content in (b"", b"ftyp", struct.pack(">I4s", 4, b"ftyp"), struct.pack(">I4s", 8, b"moov")):
        with paged_movie.paged_movie(io.BytesIO(content)) as found:
            assert found is None


def test_damaged_headers_end_nothing(tmp_path: Path, paged: Callable[[bool], None]) -> None:
    """Every byte of a header wrong, one after the other: it is paged, or it is not."""
    path = make_video(tmp_path / "a.mp4", Clip(frames=70, audio=(Audio(seconds=2.5),)))
    content = path.read_bytes()
    begin = content.index(b"moov") - 4
    outcomes = set()
    for at in range(begin + HEADER_BYTES, len(content), 3):
        damaged = content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]
        with paged_movie.paged_movie(io.BytesIO(damaged)) as found:
            outcomes.add(found is not None)
            if found is not None:
                for number, track in enumerate(found.tracks):
                    for page in range(len(track.pages)):
                        found.page(number, page).close()
    assert outcomes == {True, False}


def test_short_movies_are_left_to_ffmpeg(tmp_path: Path) -> None:
    path = _with_sound(tmp_path / "a.mp4")
    assert _pages(path) is None
    with open_container(str(path), name="a") as container, av.open(str(path)) as plain:
        assert [len(stream.index_entries) for stream in container.streams] == [
            len(stream.index_entries) for stream in plain.streams
        ]
