"""Frames are placed in time where packets alone do not tell, and the same from wherever reading begins."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from storage import splicing
from storage.h264 import FieldPairs, parse_sps
from storage.placing import CountedPlacer, place_stamped
from storage.probe import probe_video
from storage.reader import ReadingLosses, read_frames
from storage.shards import PtsRange
from storage.store import Store
from storage.timeline import Anchor, Epoch, Timeline
from tests.media import Clip, make_video, planes_digest, shards_of, whole
from tests.zoo import ALL
from tests.zoo.checks import joined
from tests.zoo.field_pictures import write_field_pictures
from tests.zoo.specimen import remuxed

PLACED = [
    "raw.h264",
    "raw.hevc",
    "h264.avi",
    "packed.avi",
    "fields.h264",
    "two recordings.ts",
    "clock set back.ts",
    "repeated stamps.mkv",
    "no duration.mp4",
    "clock steps back.flv",
    "sparse stamps.ts",
    "wrong stamps.flv",
    "wrong offsets.flv",
    "before zero.mkv",
    "wrap.ts",
    "theora.ogv",
    "two edits.mp4",
]

MENDED = [
    "clock steps back.flv",
    "sparse stamps.ts",
    "repeated stamps.mkv",
    "no duration.mp4",
    "wrong stamps.flv",
    "wrong offsets.flv",
]
"""Whose frames' true times the zoo knows, while the file tells others or none."""


def _make(name: str, folder: Path) -> Path:
    specimen = next(each for each in ALL if each.name == name)
    specimen.make(folder / name)
    return folder / name


def _stamped(stamps: Sequence[int | None], ticks: int = 10) -> list[int]:
    frames = [av.VideoFrame(16, 16, "gray") for _ in stamps]
    for frame, stamp in zip(frames, stamps, strict=True):
        frame.pts = stamp
    return [int(frame.pts or 0) for frame in place_stamped(frames, Fraction(ticks))]


@pytest.mark.parametrize(
    ("stamps", "placed"),
    [
        ([0, 10, 20], [0, 10, 20]),
        ([0, 10, 10, 20], [0, 10, 11, 20]),
        ([0, 10, 9, 8, 20], [0, 10, 11, 12, 20]),
        ([0, None, None, 30], [0, 10, 20, 30]),
        ([None, None, 25, 35], [5, 15, 25, 35]),
        ([0, None, 5, 20], [0, 2, 5, 20]),
        ([0, None, None, 15], [0, 5, 10, 15]),
        ([0, None, None, 1, 10], [0, 1, 2, 3, 10]),
        ([0, None, None], [0, 10, 20]),
        ([None, None], [0, 10]),
    ],
)
def test_stamps_are_kept_where_they_rise_and_mended_where_not(
    stamps: Sequence[int | None], placed: Sequence[int]
) -> None:
    assert _stamped(stamps) == placed


def _placed_by_counting(coded: Sequence[int], shown: Sequence[int], *, closed: set[int], lost: set[int]) -> list[int]:
    placer = CountedPlacer(1, 0)
    for packet in coded:
        placer.fed(100 * packet)
        placer.closed(packet if packet in closed else None)
        if packet in lost:
            placer.lost(packet)
    return [placer.place(packet) for packet in shown]


def test_frames_are_counted_in_the_order_of_showing() -> None:
    assert _placed_by_counting(range(4), [0, 2, 3, 1], closed=set(), lost=set()) == [0, 100, 200, 300]


def test_a_lost_frame_leaves_its_place_empty() -> None:
    shown = [0, 2, 3, 5, 6, 4, 7]  # packet 1, shown in place 3, was refused
    placed = _placed_by_counting(range(8), shown, closed={7}, lost={1})
    assert placed == [0, 100, 200, 400, 500, 600, 700]


@pytest.mark.parametrize("shard_seconds", [Fraction(1, 5), Fraction(1)], ids=str)
@pytest.mark.parametrize("name", PLACED)
def test_placed_frames_are_the_same_in_every_shard(
    name: str, shard_seconds: Fraction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splicing, "_HEAD_BYTES", 188 * 20)
    path = _make(name, tmp_path)
    everything = [(frame.pts, planes_digest(frame)) for frame in read_frames(whole(path), Store())]
    in_shards = [
        (frame.pts, planes_digest(frame))
        for shard in shards_of(path, shard_seconds)
        for frame in read_frames(shard, Store())
    ]
    assert in_shards == everything
    assert [at for at, _ in everything] == sorted({at for at, _ in everything})


def test_recordings_end_to_end_are_played_one_after_the_other(tmp_path: Path) -> None:
    specimen = next(each for each in ALL if each.name == "two recordings.ts")
    path = _make(specimen.name, tmp_path)
    (tmp_path / "parts").mkdir()
    assert specimen.recordings is not None
    expected = joined(specimen.recordings(tmp_path / "parts")).frames
    shard = whole(path)
    assert [(frame.pts or 0) * shard.probe.time_base for frame in read_frames(shard, Store())] == expected
    assert len(shard.probe.timeline.epochs) == 2
    assert "clock was set anew 1 time:" in shard.probe.timeline.remarks[0]


def test_of_a_decoding_clock_that_stands_still_nothing_is_said(tmp_path: Path) -> None:
    """As FFmpeg reads the beginning of MPEG-PS: what is shown is as even as ever."""
    source, path = make_video(tmp_path / "a.mp4", Clip(frames=30, b_frames=2)), tmp_path / "a.flv"
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        packets = [packet for packet in read.demux(video=0) if packet.size]
        first = packets[0].dts
        for number, packet in enumerate(packets):
            packet.stream = stream
            packet.dts = first if number == 1 else packet.dts
            written.mux(packet)
    shard = whole(path)
    pts = [frame.pts or 0 for frame in read_frames(shard, Store())]
    assert {after - before for before, after in pairwise(pts)} == {40}
    assert shard.probe.timeline.remarks == ()


def test_the_end_of_a_long_raw_stream_is_read_without_its_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splicing, "_HEAD_BYTES", 188 * 20)
    path = _make("fields.h264", tmp_path)
    read: list[int] = []
    plain: Callable[[splicing.SplicedFile, int], bytes] = splicing.SplicedFile.read

    def counted(self: splicing.SplicedFile, size: int = -1) -> bytes:
        content = plain(self, size)
        read.append(len(content))
        return content

    monkeypatch.setattr(splicing.SplicedFile, "read", counted)
    shard = whole(path)
    last = list(read_frames(shard, Store(), wanted=PtsRange(45 * 48000, None)))
    assert [frame.pts for frame in last] == [48000 * number for number in range(45, 50)]
    assert 0 < sum(read) < path.stat().st_size / 2


@pytest.mark.parametrize("name", MENDED)
def test_a_mended_clock_gives_the_times_that_the_zoo_knows(name: str, tmp_path: Path) -> None:
    specimen = next(each for each in ALL if each.name == name)
    path = _make(name, tmp_path)
    assert specimen.times is not None
    shard = whole(path)
    assert [(frame.pts or 0) * shard.probe.time_base for frame in read_frames(shard, Store())] == specimen.times(path)


@pytest.mark.parametrize("name", MENDED)
def test_a_mended_clock_gives_the_same_frames_from_wherever_reading_begins(name: str, tmp_path: Path) -> None:
    shard = whole(_make(name, tmp_path))
    everything = [int(frame.pts or 0) for frame in read_frames(shard, Store())]
    for first, start in enumerate(everything):
        found = [frame.pts for frame in read_frames(shard, Store(), wanted=PtsRange(start, None))]
        assert found == everything[first:]


def test_two_fields_are_one_frame(tmp_path: Path) -> None:
    raw = tmp_path / "a.h264"
    write_field_pictures(raw, frames=20)
    for path in (raw, remuxed(raw, tmp_path / "a.ts")):
        with av.open(str(path)) as container:
            fields = FieldPairs(container.streams.video[0])
            seconds = [fields.is_second(packet) for packet in container.demux(video=0) if packet.size]
        assert seconds == [False, True] * 20
    assert len(list(read_frames(whole(raw), Store()))) == 20


def test_a_cut_parameter_set_tells_nothing() -> None:
    assert parse_sps(b"\x67\x4d") is None


def test_a_file_that_ends_before_its_header_says_is_told(tmp_path: Path) -> None:
    path = _make("cut.mkv", tmp_path)
    assert any("it may be cut" in remark for remark in probe_video(str(path), Store()).timeline.remarks)


def test_a_timeline_begins_with_the_first_packet() -> None:
    with pytest.raises(ValueError, match="first epoch"):
        Timeline(epochs=(Epoch(3, 0),))


@pytest.mark.parametrize(
    "name", ["cut moov first.mp4", "lost frames.mkv", "noise in.mp4", "damaged vp9.webm", "damaged av1.mkv"]
)
def test_damage_costs_the_same_frames_with_any_number_of_threads(name: str, tmp_path: Path) -> None:
    """Who searches the frames and who writes them may have different numbers of threads."""
    shard = whole(_make(name, tmp_path))
    one, four = ([frame.pts for frame in read_frames(shard, Store(), threads=threads)] for threads in (1, 4))
    assert one == four


@pytest.mark.parametrize("apart", [90000, 3600], ids=["a keyframe a second", "keyframes only"])
def test_a_shard_of_a_long_video_travels_with_few_anchors(apart: int) -> None:
    """Ten hours; wherever reading begins, an anchor is near, and with the distance from the shard less near."""
    count = 10 * 3600 * 90000 // apart
    timeline = Timeline(anchors=tuple(Anchor(at, 188 * at, apart * at, apart * at) for at in range(count)))
    start = 8 * 3600 * 90000 + 17
    near = timeline.near(start, start + 4 * 90000).anchors
    assert near is not None
    assert list(near) == sorted(near, key=lambda anchor: anchor.pts)
    assert len(set(near)) == len(near) < 150
    assert near[-1].pts >= start + 4 * 90000 - 2 * apart
    for back in (0, 1, 10, 100, 1000, 10000):
        wanted = start - back * 90000
        before = max(anchor.pts for anchor in near if anchor.pts <= wanted)
        assert wanted - before <= back * 90000 / 3 + apart


def test_planning_takes_no_walk_over_all_anchors_for_each_shard() -> None:
    walked: list[int] = []

    class Anchors(tuple[Anchor, ...]):
        def __iter__(self) -> Iterator[Anchor]:
            walked.append(len(self))
            return super().__iter__()

    anchors = Anchors(Anchor(at, at, at, at) for at in range(1000))
    for start in range(0, 1000, 10):
        Timeline(anchors=anchors).near(start, start + 10)
    assert walked == []


@pytest.mark.parametrize(("start", "end"), [(None, 100), (900, None), (None, None), (0, 10), (-50, -5), (5000, 6000)])
def test_the_ends_of_a_video_have_their_anchors_too(start: int | None, end: int | None) -> None:
    timeline = Timeline(anchors=tuple(Anchor(at, at, 10 * at, 10 * at) for at in range(100)))
    near = timeline.near(start, end).anchors
    assert near is not None
    for wanted in range(0 if start is None else start, min(1000, end if end is not None else 1000), 10):
        if wanted >= 0:
            assert wanted - max(anchor.pts for anchor in near if anchor.pts <= wanted) <= 10


def _with_damaged_packets(source: Path, target: Path) -> None:
    """A copy in which single bytes of every third packet are others."""
    content, chance = bytearray(source.read_bytes()), random.Random(0)
    with av.open(str(source)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for packet in packets[8::3]:
        at = content.find(packet)
        for _ in range(40):
            content[at + chance.randrange(min(20, len(packet)))] = chance.randrange(256)
    target.write_bytes(bytes(content))


@pytest.mark.parametrize(("codec", "size"), [("libvpx-vp9", (640, 360)), ("libsvtav1", (64, 48))])
def test_damage_costs_the_same_frames_where_decoders_thread_as_they_like(
    codec: str, size: tuple[int, int], tmp_path: Path
) -> None:
    """And none of the many errors that these decoders raise for damage ends the video.

    VP9 is decoded by several threads where a picture has several tiles: from 512 pixels of width on.
    """
    whole_video = make_video(tmp_path / "whole.mkv", Clip(frames=40, size=size, codec=codec))
    path = tmp_path / "damaged.mkv"
    _with_damaged_packets(whole_video, path)
    shard, losses = whole(path), ReadingLosses()
    one = [frame.pts for frame in read_frames(shard, Store(), losses=losses)]
    four = [frame.pts for frame in read_frames(shard, Store(), threads=4)]
    assert one == four
    assert losses.corrupt_packets > 0
    assert 5 < len(one) < 40


@pytest.mark.parametrize("seed", [18, 21, 37, 38, 46])
def test_a_good_keyframe_of_av1_is_decoded_whatever_was_lost_before(seed: int, tmp_path: Path) -> None:
    """dav1d may refuse all that follows a loss, keyframes too, until it begins anew."""
    whole_video, path, chance = tmp_path / "whole.mkv", tmp_path / "lossy.mkv", random.Random(seed)
    make_video(whole_video, Clip(frames=70, codec="libsvtav1"))
    kept = {0, *(number for number in range(1, 70) if chance.random() >= 0.3)}
    keyframes: set[int | None] = set()
    with av.open(str(whole_video)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size and number in kept:
                keyframes |= {packet.pts} if packet.is_keyframe else set()
                packet.stream = stream
                out.mux_one(packet)
    everything = [frame.pts for frame in read_frames(whole(path), Store())]
    assert len(keyframes) > 1
    assert keyframes <= set(everything)
    in_shards = [frame.pts for shard in shards_of(path, Fraction(1, 2)) for frame in read_frames(shard, Store())]
    assert in_shards == everything
