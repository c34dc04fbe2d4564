"""An MP4 written in bounded memory is the one that FFmpeg's muxer writes."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import ffmpeg
import pytest
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from storage import long_mp4, long_mp4_header, sample_tables
from storage.long_mp4 import LongMp4
from storage.long_mp4_header import _with_tables
from storage.mp4_boxes import Box, boxes, full_box
from storage.result_file import PacketWriter
from storage.sample_tables import ColumnBox, Parts, SampleTables, box_of
from tests.media import Audio, Clip, make_video
from tests.zoo.specimen import from_pattern, remuxed, write

_FEW = 2
"""Packets that FFmpeg is told of at either end in these tests, whose videos are short."""

_PLACES = ("stco", "co64", "stsc", "mdat")
"""Boxes that tell where samples lie: beside others, FFmpeg may order packets of the same time otherwise."""


@pytest.fixture(autouse=True)
def _ffmpeg_is_told_of_few_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_mp4, "_FIRST_PACKETS", _FEW)
    monkeypatch.setattr(long_mp4, "_LAST_PACKETS", _FEW)


@contextmanager
def _opened(target: Path, *, long: bool) -> Iterator[tuple[OutputContainer, PacketWriter]]:
    muxer, options = target.suffix[1:], {"movflags": "+faststart"}
    if not long:
        with av.open(str(target), "w", format=muxer, options=options) as out:
            yield out, out
        return
    header = target.with_name("header")
    with av.open(str(header), "w", format=muxer, options=options) as out, LongMp4(out, target) as writer:
        yield out, writer
        writer.finish()
    writer.put_header_in_front(header)


def _remux(source: Path, target: Path, *, long: bool, earlier: float = 0, stretched: int = 1) -> Path:
    """Copy all streams, moved by so many seconds, then every time so many times as late."""
    with av.open(str(source)) as container, _opened(target, long=long) as (out, writer):
        added = _add_streams(out, container)
        for packet in container.demux():
            if packet.size and packet.stream_index < len(added):
                ticks = int(earlier / packet.time_base)
                packet.pts, packet.dts = ((each or 0) - ticks for each in (packet.pts, packet.dts))
                packet.pts, packet.dts = packet.pts * stretched, packet.dts * stretched
                packet.duration = (packet.duration or 0) * stretched
                packet.stream = added[packet.stream_index]
                writer.mux_one(packet)
    return target


def _add_streams(out: OutputContainer, container: InputContainer) -> list[Stream]:
    out.metadata.update(container.metadata)
    out.set_chapters(container.chapters())
    added = []
    for stream in container.streams:
        if stream.type == "data":
            break  # chapters and time codes, which come last and are made anew
        added.append(out.add_stream_from_template(stream, opaque=stream.type != "video"))
        added[-1].metadata.update(stream.metadata)
        added[-1].disposition = stream.disposition
        if stream.type == "video" and stream.codec_context.codec_tag == "hev1":
            added[-1].codec_context.codec_tag = "hvc1"
    return added


def _leaves(path: Path) -> list[tuple[str, bytes]]:
    """Every box that holds no others, by its path."""
    content = path.read_bytes()
    found: list[tuple[str, bytes]] = []

    def walk(begin: int, end: int, above: str) -> None:
        for box in boxes(io.BytesIO(content), begin, end):
            name = f"{above}/{box.kind.decode('latin-1')}"
            if box.kind in (b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"udta"):
                walk(box.payload, box.end, name)
            else:
                found.append((name, content[box.begin : box.end]))

    walk(0, len(content), "")
    return found


def _packets(path: Path) -> list[tuple[object, ...]]:
    """All that a reader is told of every packet."""
    with av.open(str(path)) as container:
        told = [
            (
                packet.stream_index,
                packet.dts,
                packet.pts,
                packet.duration,
                packet.is_keyframe,
                packet.is_discard,
                packet.is_disposable,
                bytes(packet),
                [(each.data_type, bytes(each)) for each in packet.iter_sidedata()],
            )
            for packet in container.demux()
            if packet.size
        ]
    return sorted(told, key=lambda each: each[:2])


def _with_text(path: Path) -> Path:
    """A second of video with 3GPP timed text: two lines that follow at once, and one after a pause."""
    lines = ((0.1, 0.4, "hello"), (0.4, 0.6, "there"), (0.8, 0.9, "end"))
    mixed = make_video(path.with_suffix(".mkv"), Clip(subtitles=lines, audio=(Audio(),)))
    return remuxed(mixed, path, **{"c:s": "mov_text"})


def _with_cover_and_time_code(path: Path) -> Path:
    picture = path.with_suffix(".jpg")
    write(picture, from_pattern(1, "32x32"), **{"frames:v": 1, "update": 1})
    options = {"c:v": "libx264", "preset": "ultrafast", "c:v:1": "copy", "disposition:v:1": "attached_pic"}
    write(path, [*from_pattern(1), ffmpeg.input(str(picture))], timecode="01:02:03:04", **options)
    return path


def _with_two_descriptions(path: Path) -> Path:
    """A file whose AAC is described anew halfway."""
    plain = make_video(path.with_name("plain.mp4"), Clip(audio=(Audio(),)))
    content = plain.read_bytes()
    file = io.BytesIO(content)
    *_, moov = boxes(file, 0, len(content))
    assert moov.kind == b"moov"  # behind the samples, so that these stay where they are

    def twice(stbl: Box) -> Parts:
        inside = {each.kind: content[each.begin : each.end] for each in boxes(file, stbl.payload, stbl.end)}
        entry = inside[b"stsd"][16:]
        asc = entry.index(b"\x05\x80\x80\x80") + 5
        other = entry[: asc + 2] + bytes([entry[asc + 2] ^ 1]) + entry[asc + 3 :]  # a byte that no decoder minds
        inside[b"stsd"] = full_box(b"stsd", struct.pack(">I", 2) + entry + other)
        runs = [struct.unpack_from(">3I", inside[b"stsc"], at) for at in range(16, len(inside[b"stsc"]), 12)]
        halved = [(first, samples, 1 + (number >= len(runs) // 2)) for number, (first, samples, _) in enumerate(runs)]
        inside[b"stsc"] = full_box(
            b"stsc", struct.pack(">I", len(halved)) + b"".join(struct.pack(">3I", *run) for run in halved)
        )
        return list(inside.values())

    parts: Parts = []
    for child in boxes(file, moov.payload, moov.end):
        is_sound = child.kind == b"trak" and b"soun" in content[child.begin : child.end]
        parts += _with_tables(file, child, twice) if is_sound else [content[child.begin : child.end]]
    changed = b"".join(part for part in box_of(b"moov", parts) if isinstance(part, bytes))
    path.write_bytes(content[: moov.begin] + changed)
    return path


SAME = {
    "B-frames": ("a.mp4", Clip(frames=40, b_frames=2, audio=(Audio(seconds=1.6),))),
    "VFR": ("a.mp4", Clip(pts=[0, 1, 3, 4, 9, 10, 50, 51, 52, 60, 61, 62], time_base=Fraction(1, 90))),
    "sound that starts late": ("a.mp4", Clip(audio=(Audio(start=0.35),))),
    "picture that starts late": ("a.mp4", Clip(pts=list(range(8, 33)), b_frames=2, audio=(Audio(),))),
    "chapters": ("a.mp4", Clip(chapters=((0, 0.5, "first"), (0.5, 1, "second")), audio=(Audio(),))),
    "turned": ("a.mp4", Clip(rotation=90, audio=(Audio("libmp3lame"),))),
    "PCM": ("a.mov", Clip(audio=(Audio("pcm_s24le"),))),
    "keyframes alone": ("a.mov", Clip(gop=1)),
    "HEVC": ("a.mp4", Clip(codec="libx265", b_frames=2, audio=(Audio(),))),
}


@pytest.mark.parametrize("name", SAME)
def test_the_file_is_the_same_to_the_byte(name: str, tmp_path: Path) -> None:
    file_name, clip = SAME[name]
    source = make_video(tmp_path / file_name, clip)
    plain = _remux(source, tmp_path / f"plain{source.suffix}", long=False)
    long = _remux(source, tmp_path / f"long{source.suffix}", long=True)
    assert long.read_bytes() == plain.read_bytes()


def test_a_file_of_days_is_the_same_to_the_byte(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", Clip(frames=40, b_frames=2))
    plain = _remux(source, tmp_path / "plain.mp4", long=False, stretched=1 << 19)
    long = _remux(source, tmp_path / "long.mp4", long=True, stretched=1 << 19)
    assert long.read_bytes() == plain.read_bytes()
    with av.open(str(long)) as container:
        assert container.duration == pytest.approx(40 / 25 * (1 << 19) * av.time_base, rel=0.1)


def test_a_file_that_begins_before_zero_is_the_same_to_the_byte(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", Clip(frames=40, b_frames=2, audio=(Audio(seconds=1.6),)))
    plain = _remux(source, tmp_path / "plain.mp4", long=False, earlier=0.3)
    long = _remux(source, tmp_path / "long.mp4", long=True, earlier=0.3)
    assert long.read_bytes() == plain.read_bytes()


def _two_voices(path: Path) -> Path:
    return make_video(path, Clip(b_frames=2, audio=(Audio(language="eng"), Audio("ac3", language="deu"))))


MIXED = {
    "two voices": ("a.mp4", _two_voices),
    "text": ("a.mp4", _with_text),
    "text in MOV": ("a.mov", _with_text),
    "a cover picture and a time code": ("a.mov", _with_cover_and_time_code),
    "two descriptions of the sound": ("a.mp4", _with_two_descriptions),
}


@pytest.mark.parametrize("name", MIXED)
def test_packets_and_header_are_the_same_whatever_the_order_of_packets(name: str, tmp_path: Path) -> None:
    file_name, make = MIXED[name]
    source = make(tmp_path / file_name)
    plain = _remux(source, tmp_path / f"plain{source.suffix}", long=False)
    long = _remux(source, tmp_path / f"long{source.suffix}", long=True)
    kept = [[leaf for leaf in _leaves(path) if not leaf[0].endswith(_PLACES)] for path in (plain, long)]
    assert kept[0] == kept[1]
    assert [name for name, _ in _leaves(plain)] == [name for name, _ in _leaves(long)]
    assert _packets(long) == _packets(plain)
    assert len(_packets(source)) <= len(_packets(long))


def test_places_and_sizes_get_64_bits_where_they_need_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = Clip(audio=(Audio(),), chapters=((0, 0.5, "first"), (0.5, 1, "second")))
    source = make_video(tmp_path / "a.mp4", clip)
    plain = _remux(source, tmp_path / "plain.mp4", long=False)
    monkeypatch.setattr(sample_tables, "_LARGEST_32", 1000)
    monkeypatch.setattr(long_mp4_header, "_LARGEST_SIZE", 1000)
    long = _remux(source, tmp_path / "long.mp4", long=True)
    names = [name.rpartition("/")[2] for name, _ in _leaves(long)]
    assert names.count("co64") == 3
    assert "free" not in names  # its place is that of the larger size
    assert _packets(long) == _packets(plain)


def test_packets_that_do_not_go_on_are_refused(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", Clip())
    with av.open(str(source)) as container, _opened(tmp_path / "long.mp4", long=True) as (out, writer):
        (stream,) = _add_streams(out, container)
        first, *_, last = (packet for packet in container.demux() if packet.size)
        for packet in (last, first):
            packet.stream = stream
        writer.mux_one(last)
        with pytest.raises(av.error.ArgumentError):
            writer.mux_one(first)


def test_memory_does_not_grow_with_the_number_of_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_tables, "_NUMBERS_PER_CHUNK", 1 << 8)
    monkeypatch.setattr(sample_tables, "_IN_MEMORY_BYTES", 1 << 10)

    def peak(packets: int) -> int:
        tables = SampleTables(25, is_video=True)
        for number in range(packets):
            tables.add(3 * number * number, 100 + number % 7, number, number % 3, keyframe=number % 2 == 0)
        tables.close(1)
        for part in tables.boxes(0):
            for _ in part.chunks() if isinstance(part, ColumnBox) else ():
                pass
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        shorter = peak(1000)
        assert peak(4000) < 1.1 * shorter
    finally:
        tracemalloc.stop()
