"""Deinterlacing gives a frame for every frame, at its pts, and no reading of it shows where a range begins."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg
import numpy as np
import pytest

from storage.deinterlacing import deinterlaced, read_pictures
from storage.encoding import SizeSettings
from storage.reader import ReadingLosses, read_frames
from storage.shards import PtsRange
from storage.store import Store
from tests.media import planes_digest, shards_of, whole
from tests.zoo.specimen import write

DEINTERLACE = SizeSettings(deinterlace=True)
CODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "H.264 in fields": ("a.mp4", {"vcodec": "libx264", "flags": "+ildct+ilme", "x264-params": "tff=1:keyint=6"}),
    "H.264, bottom first": ("a.mkv", {"vcodec": "libx264", "flags": "+ildct+ilme", "x264-params": "bff=1:keyint=9"}),
    "MPEG-2": ("a.ts", {"vcodec": "mpeg2video", "flags": "+ildct+ilme", "g": 8, "bf": 2, "qscale": 3}),
}


def interlaced(folder: Path, coding: str) -> Path:
    name, options = CODINGS[coding]
    order = "bff" if "bottom" in coding else "tff"
    fields = ffmpeg.input("testsrc2=size=96x64:rate=50:duration=1.2", f="lavfi").filter("interlace", scan=order)
    write(folder / name, [fields], **options)
    return folder / name


@pytest.mark.parametrize("coding", CODINGS)
def test_every_frame_is_there_at_its_pts(coding: str, tmp_path: Path) -> None:
    shard = whole(interlaced(tmp_path, coding))
    source = [frame.pts for frame in read_frames(shard, Store())]
    found = list(read_pictures(shard, Store(), DEINTERLACE))
    assert [frame.pts for frame in found] == source
    assert not any(frame.interlaced_frame for frame in found)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("seconds", [Fraction(1, 10), Fraction(1, 3)], ids=str)
def test_the_length_of_a_shard_does_not_show(seconds: Fraction, coding: str, tmp_path: Path) -> None:
    path = interlaced(tmp_path, coding)
    at_once = [(frame.pts, planes_digest(frame)) for frame in read_pictures(whole(path), Store(), DEINTERLACE)]
    pieces = [
        (frame.pts, planes_digest(frame))
        for shard in shards_of(path, seconds)
        for frame in read_pictures(shard, Store(), DEINTERLACE)
    ]
    assert pieces == at_once


def test_a_neighbour_is_found_however_far_away(tmp_path: Path) -> None:
    """A pause of ten nominal frames lies before the range."""
    path = tmp_path / "a.mkv"
    fields = ffmpeg.input("testsrc2=size=96x64:rate=50:duration=1.2", f="lavfi").filter("interlace", scan="tff")
    paused = fields.filter("setpts", "PTS+if(gte(N,12),0.4/TB,0)")
    write(path, [paused], vcodec="libx264", flags="+ildct+ilme", fps_mode="passthrough", **{"x264-params": "keyint=4"})
    shard = whole(path)
    frames = list(read_pictures(shard, Store(), DEINTERLACE))
    gaps = np.diff([frame.pts for frame in frames])
    after_pause = int(np.argmax(gaps)) + 1
    assert gaps.max() > 8 * np.median(gaps)
    start = frames[after_pause].pts
    first = next(iter(read_pictures(shard, Store(), DEINTERLACE, wanted=PtsRange(start, None))))
    assert (first.pts, planes_digest(first)) == (start, planes_digest(frames[after_pause]))


def test_it_takes_out_the_comb(tmp_path: Path) -> None:
    """Rows of a moving picture differ from their neighbours far less than when two moments alternate."""
    wave = ffmpeg.input("color=size=96x64:rate=50:duration=1", f="lavfi").filter("geq", lum="128+80*sin((X+4*N)/6)")
    interlaced_wave = wave.filter("format", "yuv420p").filter("interlace", scan="tff")
    write(tmp_path / "a.mp4", [interlaced_wave], **CODINGS["H.264 in fields"][1])
    shard = whole(tmp_path / "a.mp4")

    def roughness(frames: Any) -> float:
        lumas = [frame.to_ndarray()[:64].astype(float) for frame in frames]
        return float(np.mean([np.abs(luma[1:-1] - (luma[:-2] + luma[2:]) / 2).mean() for luma in lumas]))

    combed = roughness(read_frames(shard, Store()))
    assert roughness(read_pictures(shard, Store(), DEINTERLACE)) < 0.2 * combed


def test_without_being_asked_frames_are_as_decoded(tmp_path: Path) -> None:
    shard = whole(interlaced(tmp_path, "MPEG-2"))
    losses = ReadingLosses()
    as_decoded = [(frame.pts, planes_digest(frame)) for frame in read_frames(shard, Store())]
    found = [
        (frame.pts, planes_digest(frame)) for frame in read_pictures(shard, Store(), SizeSettings(), losses=losses)
    ]
    assert found == as_decoded


def test_no_frame_at_all_gives_none() -> None:
    assert list(deinterlaced([], "top first")) == []


@pytest.mark.parametrize(("told", "field_order", "kept"), [(3, "bottom first", 1), (2, "top first", 0)])
def test_the_earlier_field_stays_where_only_the_container_tells_it(
    told: int, field_order: str, kept: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.mkv"
    random = np.random.default_rng(5)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.field_order = told
        for pts in range(5):
            frame = av.VideoFrame.from_ndarray(random.integers(0, 256, (72, 64), np.uint8), format="yuv420p")
            frame.pts = pts
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    shard = whole(path)
    source = [frame.to_ndarray()[: frame.height] for frame in read_frames(shard, Store())]
    assert not any(frame.interlaced_frame for frame in read_frames(shard, Store()))
    assert shard.probe.tags.field_order == field_order
    found = [frame.to_ndarray()[: frame.height] for frame in read_pictures(shard, Store(), DEINTERLACE)]
    for before, after in zip(source, found, strict=True):
        np.testing.assert_array_equal(after[kept::2], before[kept::2])
        assert not np.array_equal(after[1 - kept :: 2], before[1 - kept :: 2])


@pytest.mark.parametrize("size", [SizeSettings(), DEINTERLACE], ids=["as decoded", "deinterlaced"])
def test_damage_is_counted_once_whatever_the_length_of_a_shard(size: SizeSettings, tmp_path: Path) -> None:
    path = interlaced(tmp_path, "MPEG-2")
    content, random = bytearray(path.read_bytes()), np.random.default_rng(1)
    for at in range(20 * 188 + 30, len(content) - 188, 9 * 188):
        content[at : at + 100] = random.bytes(100)
    path.write_bytes(content)
    counts = []
    for seconds in (Fraction(600), Fraction(1, 2), Fraction(1, 5)):
        losses = ReadingLosses()
        frames = [
            frame.pts
            for shard in shards_of(path, seconds)
            for frame in read_pictures(shard, Store(), size, losses=losses)
        ]
        counts.append((frames, losses.corrupt_packets, losses.concealed_frames))
    assert counts[0][1] + counts[0][2] > 0
    assert counts == counts[:1] * 3
