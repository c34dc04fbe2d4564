"""A segment carries the pts it was given, to the tick, whatever the time base and the encoder's reordering."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from random import Random

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.encoding import EncodeSettings, SizeSettings, output_picture
from storage.errors import MediaError
from storage.segments import SegmentWriter, decoding_times, in_ticks, pts_digest, segment_timing
from tests.media import Clip, picture
from tests.storage.test_shards import probe_of

CLIP = Clip(size=(64, 48))


def write_segment(
    path: Path, all_pts: list[int], time_base: Fraction, encode: EncodeSettings | None = None, pix_fmt: str = "yuv420p"
) -> SegmentWriter:
    probe = replace(probe_of(time_base), pix_fmt=pix_fmt)
    target = output_picture(probe, SizeSettings(scale=1))
    with SegmentWriter(path, probe, target, encode or EncodeSettings(preset="ultrafast")) as writer:
        for number, pts in enumerate(all_pts):
            frame = picture(number, replace(CLIP, pix_fmt=target.pix_fmt))
            frame.pts = pts
            writer.write(frame)
    return writer


@pytest.mark.parametrize("encode", [("h264", "ultrafast"), ("h264", "medium"), ("hevc", "ultrafast")], ids="-".join)
@pytest.mark.parametrize(
    ("time_base", "all_pts"),
    [
        (Fraction(1, 90000), [2**33 - 9000 + 3003 * at for at in range(20)]),
        (Fraction(1001, 30000), list(range(7, 27))),
        (Fraction(1, 1000), [round(at * 1000 / 29.97) for at in range(20)]),
        (Fraction(1, 12800), [0, 512, 1024, 1025, 5000, 5001, 90000, 90001, 100000]),
        (Fraction(1, 25), [3]),
    ],
    ids=str,
)
def test_pts_survive_to_the_tick(
    time_base: Fraction, all_pts: list[int], encode: tuple[str, str], tmp_path: Path
) -> None:
    codec, preset = encode
    chosen = EncodeSettings.model_validate({"codec": codec, "preset": preset})
    writer = write_segment(tmp_path / "a.mp4", all_pts, time_base, chosen)
    writer.check()
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        shown = [frame.pts * stream.time_base / time_base for frame in container.decode(stream)]
    assert shown == all_pts
    assert writer.summary.frames == len(all_pts)
    assert (writer.summary.first_pts, writer.summary.last_pts) == (all_pts[0], all_pts[-1])
    assert writer.summary.digest == pts_digest(all_pts)
    assert writer.summary.size == (tmp_path / "a.mp4").stat().st_size


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.sampled_from([Fraction(1, 90000), Fraction(1001, 30000), Fraction(1, 1000), Fraction(1, 12800)]),
    st.integers(0, 2**33),
    st.lists(st.integers(1, 20000), min_size=1, max_size=12),
)
def test_any_rising_pts_survive(
    tmp_path_factory: pytest.TempPathFactory, time_base: Fraction, first: int, gaps: list[int]
) -> None:
    all_pts = [first]
    for gap in gaps:
        all_pts.append(all_pts[-1] + gap)
    write_segment(tmp_path_factory.mktemp("segment") / "a.mp4", all_pts, time_base).check()


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_segment_begins_with_a_keyframe(codec: str, tmp_path: Path) -> None:
    encode = EncodeSettings.model_validate({"codec": codec, "preset": "ultrafast"})
    write_segment(tmp_path / "a.mp4", list(range(10)), Fraction(1, 25), encode)
    assert segment_timing(tmp_path / "a.mp4", Fraction(1, 25))[0] == (0, True)


def test_segments_of_one_video_have_one_decoder_configuration(tmp_path: Path) -> None:
    found = set()
    for name, all_pts in (("a", [0, 1, 2]), ("b", list(range(50, 90))), ("c", [1000])):
        write_segment(tmp_path / f"{name}.mp4", all_pts, Fraction(1, 25), EncodeSettings(preset="medium"))
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            found.add(container.streams.video[0].codec_context.extradata)
    assert len(found) == 1


def test_a_planted_fault_is_caught(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = write_segment(path, [0, 512, 1024, 1536], Fraction(1, 12800))
    for wrong in ([0, 512, 1024], [0, 512, 1024, 1536, 2048], [0, 512, 1025, 1536], [1, 513, 1025, 1537]):
        write_segment(path, wrong, Fraction(1, 12800))
        with pytest.raises(MediaError, match=r"a\.mp4: wrote 4 frames"):
            writer.check()


def test_no_frames_leave_no_file(tmp_path: Path) -> None:
    writer = write_segment(tmp_path / "a.mp4", [], Fraction(1, 25))
    writer.check()
    assert writer.summary == type(writer.summary)(0, None, None, pts_digest([]), 0, "")
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(("pix_fmt", "encoded"), [("yuv420p10le", "yuv420p10le"), ("yuv422p", "yuv422p")])
def test_depth_and_subsampling_are_the_sources(pix_fmt: str, encoded: str, tmp_path: Path) -> None:
    write_segment(tmp_path / "a.mp4", [0, 1], Fraction(1, 25), pix_fmt=pix_fmt).check()
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == encoded


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_colour_tags_and_aspect_ratio_are_written(codec: str, tmp_path: Path) -> None:
    probe = replace(
        probe_of(Fraction(1, 25)),
        color_range=2,
        colorspace=9,
        color_primaries=9,
        color_trc=16,
        sample_aspect_ratio=Fraction(16, 11),
    )
    target = output_picture(probe, SizeSettings(scale=1))
    encode = EncodeSettings.model_validate({"codec": codec, "preset": "ultrafast"})
    with SegmentWriter(tmp_path / "a.mp4", probe, target, encode) as writer:
        frame = picture(0, CLIP)
        frame.pts = 0
        writer.write(frame)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        shown = next(container.decode(stream))
        assert (shown.color_range, shown.colorspace, shown.color_primaries, shown.color_trc) == (2, 9, 9, 16)
        assert stream.codec_context.sample_aspect_ratio == Fraction(16, 11)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(-(2**40), 2**40), st.integers(1, 1001), st.integers(1, 10**6))
def test_ticks_are_converted_exactly_or_refused(pts: int, factor: int, denominator: int) -> None:
    fine, coarse = Fraction(1, denominator * factor), Fraction(1, denominator)
    assert in_ticks(pts, coarse, fine) == pts * factor
    if pts % factor:
        with pytest.raises(MediaError, match="no whole number of ticks"):
            in_ticks(pts, fine, coarse)
    else:
        assert in_ticks(pts, fine, coarse) == pts // factor


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=30),
    st.integers(-1000, 10000),
    st.fractions(Fraction(1, 2), 4000),
    st.randoms(use_true_random=False),
)
def test_dts_rise_strictly_and_never_pass_the_pts(gaps: list[int], first: int, ticks: Fraction, random: Random) -> None:
    shown = [first + sum(gaps[:at]) for at in range(len(gaps))]
    keys = {pts: rank + random.uniform(0, 4) for rank, pts in enumerate(shown)}
    coded = sorted(shown, key=lambda pts: keys[pts])
    found = [int(dts) for dts in decoding_times(coded, ticks)]
    assert all(before < after for before, after in pairwise(found))
    assert all(dts <= pts for dts, pts in zip(found, coded, strict=True))
    if first >= len(gaps):
        assert found[0] >= 0


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
def test_fewer_frames_than_hevc_reorders_are_written(frames: int, preset: str, tmp_path: Path) -> None:
    encode = EncodeSettings.model_validate({"codec": "hevc", "preset": preset})
    for time_base in (Fraction(1, 25), Fraction(1, 90000)):
        write_segment(tmp_path / "a.mp4", list(range(3, 3 + frames)), time_base, encode).check()
