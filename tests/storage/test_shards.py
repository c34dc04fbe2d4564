"""Shards tile all of time: every pts has exactly one owner, whatever the header says and however long a shard is."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.catalogue import Source
from storage.occupied import united
from storage.probe import VideoProbe
from storage.reader import read_frames
from storage.shards import PtsRange, _cuts_where_frames_are, chain_covering, plan_shards
from storage.store import FileIdentity, Store
from tests.media import Clip, make_video, shards_of, whole

SOURCE = Source("/videos/talk.mp4", "talk.mp4", FileIdentity(1, "1"))
TIME_BASES = (Fraction(1, 90000), Fraction(1001, 30000), Fraction(1, 1000), Fraction(1, 12800), Fraction(1, 25))
BOUNDED = settings(max_examples=150, deadline=None, derandomize=True)


def probe_of(time_base: Fraction = Fraction(1, 90000), first_pts: int = 0, duration: int | None = 900000) -> VideoProbe:
    return VideoProbe(
        container="mpegts",
        codec="h264",
        stream_index=0,
        width=64,
        height=48,
        pix_fmt="yuv420p",
        time_base=time_base,
        frame_ticks=Fraction(1, 25) / time_base,
        first_pts=first_pts,
        duration=duration,
        rotation=0,
        sample_aspect_ratio=Fraction(1),
        color_range=1,
        colorspace=2,
        color_primaries=2,
        color_trc=2,
        other_streams=(),
    )


@st.composite
def probes(draw: st.DrawFn) -> VideoProbe:
    """Of any clock, claiming up to 80 s or nothing."""
    time_base = draw(st.sampled_from(TIME_BASES))
    seconds = draw(st.one_of(st.none(), st.integers(0, 80)))
    duration = None if seconds is None else int(seconds / time_base)
    return probe_of(time_base, draw(st.integers(-(10**6), 2**33)), duration)


lengths = st.fractions(Fraction(1, 5), Fraction(60))


@BOUNDED
@given(probes(), lengths, st.integers(-(10**7), 2**34))
def test_every_pts_has_one_owner_at_any_shard_length(probe: VideoProbe, seconds: Fraction, pts: int) -> None:
    owners = [shard for shard in plan_shards(SOURCE, probe, seconds) if pts in shard.range]
    assert len(owners) == 1


@BOUNDED
@given(probes(), lengths)
def test_ranges_follow_each_other_without_gap_or_overlap(probe: VideoProbe, seconds: Fraction) -> None:
    ranges = [shard.range for shard in plan_shards(SOURCE, probe, seconds)]
    assert ranges[0].start is None
    assert ranges[-1].end is None
    assert [part.end for part in ranges[:-1]] == [part.start for part in ranges[1:]]
    assert chain_covering(PtsRange(None, None), reversed(ranges)) == ranges


@BOUNDED
@given(
    probes(),
    lengths,
    st.lists(st.integers(1, 10**6), min_size=1, max_size=40),
    st.integers(-(10**6), 10**6),
)
def test_frames_outside_a_wrong_header_are_owned_too(
    probe: VideoProbe, seconds: Fraction, gaps: list[int], shift: int
) -> None:
    frames, at = [], probe.first_pts + shift
    for gap in gaps:
        frames.append(at)
        at += gap
    shards = plan_shards(SOURCE, probe, seconds)
    assert [pts for shard in shards for pts in frames if pts in shard.range] == frames


def test_shards_are_about_as_long_as_asked() -> None:
    shards = plan_shards(SOURCE, probe_of(duration=90000 * 60), Fraction(3))
    assert len(shards) == 20
    assert shards[1].range == PtsRange(270000, 540000)


@BOUNDED
@given(st.lists(st.integers(-50, 50), unique=True, min_size=1, max_size=8), st.data())
def test_a_chain_with_a_missing_link_covers_nothing(cuts: list[int], data: st.DataObject) -> None:
    edges = [None, *sorted(cuts), None]
    ranges = [PtsRange(start, end) for start, end in pairwise(edges)]
    missing = data.draw(st.sampled_from(ranges))
    assert chain_covering(PtsRange(None, None), [part for part in ranges if part != missing]) is None


def test_parts_of_a_crowded_shard_cover_it_beside_parts_of_another_cut() -> None:
    wanted = PtsRange(100, 200)
    parts = [PtsRange(100, 130), PtsRange(130, 160), PtsRange(160, 200), PtsRange(0, 100)]
    assert chain_covering(wanted, parts) == parts[:3]
    assert chain_covering(wanted, [PtsRange(100, 150), PtsRange(160, 200)]) is None


def test_a_chain_is_found_among_parts_that_begin_alike() -> None:
    long, short, rest = PtsRange(None, 50), PtsRange(None, 20), PtsRange(20, None)
    assert chain_covering(PtsRange(None, None), [long, short, rest]) == [short, rest]


def test_a_chain_is_found_whichever_of_the_parts_that_begin_alike_leads_on() -> None:
    everything = PtsRange(None, None)
    parts = [PtsRange(None, 100), PtsRange(100, 200), PtsRange(None, 150), PtsRange(150, None)]
    assert chain_covering(everything, parts) == parts[2:]
    assert chain_covering(everything, reversed(parts)) == parts[2:]
    assert chain_covering(everything, parts[:3]) is None


def test_many_dead_ends_are_tried_once_each() -> None:
    count = 2000
    dead = [PtsRange(at, at + step) for at in range(count) for step in (1, 2, 3)]
    assert chain_covering(PtsRange(0, None), dead) is None
    assert chain_covering(PtsRange(0, None), [*dead, PtsRange(count + 2, None)]) is not None


@pytest.mark.parametrize(("start", "end"), [(5, 5), (6, 5)])
def test_an_empty_range_is_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="empty or reversed"):
        PtsRange(start, end)


def test_a_video_of_ten_hours_is_covered_at_once() -> None:
    shards = plan_shards(SOURCE, probe_of(duration=90000 * 36000), Fraction(1))
    ranges = [shard.range for shard in shards]
    assert chain_covering(PtsRange(None, None), ranges) == ranges
    assert len(ranges) == 36000


@pytest.mark.parametrize("seconds", [Fraction(1, 2), Fraction(1), Fraction(4)])
def test_time_without_frames_is_one_shard_however_long(seconds: Fraction, tmp_path: Path) -> None:
    """A few bytes of damage put frames hours apart: shards of seconds between them would be ten thousands."""
    hours = 25 * 3600
    pts = (*range(20), *range(20 * hours, 20 * hours + 30), *range(90 * hours, 90 * hours + 10))
    path = make_video(tmp_path / "a.mkv", Clip(pts=pts, codec="mjpeg", pix_fmt="yuvj420p"))
    shards = shards_of(path, seconds)
    assert len(shards) < 3 * (10 / seconds + 3)
    assert [(one.range.end, other.range.start) for one, other in pairwise(shards)] == [
        (one.range.end, one.range.end) for one in shards[:-1]
    ]
    assert (shards[0].range.start, shards[-1].range.end) == (None, None)
    frames = [frame.pts for shard in shards for frame in read_frames(shard, Store())]
    assert frames == [frame.pts for frame in read_frames(whole(path), Store())]
    assert len(frames) == len(pts)
    longest = max(shards[1:-1], key=lambda shard: (shard.range.end or 0) - (shard.range.start or 0))
    assert not list(read_frames(longest, Store()))


@BOUNDED
@given(
    occupied=st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 300)), max_size=6),
    step=st.integers(1, 200),
    count=st.integers(1, 40),
)
def test_every_cut_beside_a_frame_stays(occupied: list[tuple[int, int]], step: int, count: int) -> None:
    stretches = united([(start, start + length) for start, length in occupied])
    all_cuts = [step * i for i in range(1, count)]
    cuts = list(_cuts_where_frames_are(replace(probe_of(), occupied=stretches), step, count))
    if not stretches:
        assert cuts == all_cuts
        return
    beside = [cut for cut in all_cuts if any(start < cut + step and cut - step < end for start, end in stretches)]
    assert cuts == sorted(set(cuts))
    assert set(beside) <= set(cuts) <= set(all_cuts)
    assert len(cuts) <= len(beside) + 2 * len(stretches)
