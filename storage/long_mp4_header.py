"""The header of a long MP4: one that FFmpeg wrote of a few packets, with the sample tables of all of them."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from storage.errors import MediaError
from storage.mp4_boxes import HEADER_BYTES, Box, boxes, full_box
from storage.sample_tables import Parts, SampleTables, box_of, size_of

_LARGEST_SIZE = (1 << 32) - 1
"""Of a box with a size of 32 bits."""

_FILLERS = (b"free", b"wide")
"""What FFmpeg puts before the samples, in MP4 and MOV, so that their box may get a size of 64 bits."""

_TABLES = frozenset((b"stsd", b"stts", b"stss", b"sdtp", b"ctts", b"stsc", b"stsz", b"stco", b"co64"))

_BIT_RATES = ((b"btrt", 8), (b"esds", 26))
"""Boxes that tell a stream's highest and mean bit rate, and how many bytes behind their kind's first."""


@dataclass(frozen=True)
class Span:
    """Bytes of a file that lie together."""

    begin: int
    size: int


def header_in_parts(source: IO[bytes], tables: Sequence[SampleTables], payload: int) -> Parts:
    """Everything that goes before the packets of a file: its type, its `moov`, and the beginning of `mdat`.

    Args:
        source: a file that FFmpeg's muxer wrote of some of the packets.
        tables: of each stream that has samples, in order; their positions count from the first packet on.
        payload: bytes of all packets.
    """
    found = {box.kind: box for box in boxes(source, 0, source.seek(0, os.SEEK_END))}
    tracks = [box for box in boxes(source, found[b"moov"].payload, found[b"moov"].end) if box.kind == b"trak"]
    if len(tracks) < len(tables):
        raise MediaError(f"FFmpeg's muxer made {len(tracks)} tracks of {len(tables)} streams")
    # Chapters and time codes are tracks that FFmpeg makes itself. It writes their samples before all packets.
    made = [_samples_of(source, track) for track in tracks[len(tables) :]]
    first = _content(source, found[b"ftyp"])
    filler = next(_content(source, found[kind]) for kind in _FILLERS if kind in found)
    samples = [_at(source, span) for span in made]
    mdat = _beginning_of_samples(filler, sum(map(len, samples)) + payload)
    parts: Parts = [*samples]
    before = -1
    while (size := size_of(parts)) != before:  # offsets of 64 bits make it longer, and others may then need them
        before = size
        parts = [first, *_moov(source, found[b"moov"], tables, made, size), mdat, *samples]
    return parts


def _moov(source: IO[bytes], moov: Box, tables: Sequence[SampleTables], made: Sequence[Span], plus: int) -> Parts:
    """The `moov` of a file whose packets begin at the byte `plus`, behind the samples that FFmpeg made."""
    at = plus - sum(span.size for span in made)
    changes = [_filled(source, each, plus) for each in tables]
    for span in made:
        changes.append(_moved(source, at - span.begin))
        at += span.size
    left = iter(changes)
    parts: Parts = []
    for child in boxes(source, moov.payload, moov.end):
        parts += _with_tables(source, child, next(left)) if child.kind == b"trak" else [_content(source, child)]
    return box_of(b"moov", parts)


def _with_tables(source: IO[bytes], box: Box, change: Callable[[Box], Parts]) -> Parts:
    """A track, or a box in it, with what `change` makes of its `stbl` in that."""
    parts: Parts = []
    for child in boxes(source, box.payload, box.end):
        if child.kind in (b"mdia", b"minf"):
            parts += _with_tables(source, child, change)
        elif child.kind == b"stbl":
            parts += box_of(b"stbl", change(child))
        else:
            parts.append(_content(source, child))
    return box_of(box.kind, parts)


def _filled(source: IO[bytes], tables: SampleTables, plus: int) -> Callable[[Box], Parts]:
    """Puts all of a track's samples where FFmpeg told of some."""

    def change(stbl: Box) -> Parts:
        inside = {box.kind: box for box in boxes(source, stbl.payload, stbl.end)}
        told = tables.bits_a_second(_bytes_of_samples(source, inside[b"stsz"]))
        entries = _with_bit_rate(_content(source, inside[b"stsd"]), told, tables.bits_a_second(tables.bytes))
        parts: Parts = [entries, *tables.boxes(plus)]
        for kind, box in inside.items():
            content = _content(source, box)
            if kind == b"sbgp":  # one group: all of AAC's samples are like the others
                content = content[:20] + struct.pack(">I", tables.samples) + content[24:]
            if kind not in _TABLES:
                parts.append(content)
        return parts

    return change


def _with_bit_rate(entries: bytes, told: int, mean: int) -> bytes:
    """Sample entries with the mean bit rate of all samples instead of that of those which FFmpeg was told of.

    The highest one is the larger of the stream's own, if it tells one, and the mean.
    """
    content = bytearray(entries)
    for kind, behind in _BIT_RATES:
        at = content.find(kind)
        while at >= 0:
            highest, written = struct.unpack_from(">2I", content, at + behind)
            if written == told:
                struct.pack_into(">2I", content, at + behind, max(highest, mean), mean)
            at = content.find(kind, at + len(kind))
    return bytes(content)


def _moved(source: IO[bytes], by: int) -> Callable[[Box], Parts]:
    """Moves a track that FFmpeg wrote whole by so many bytes."""

    def change(stbl: Box) -> Parts:
        parts: Parts = []
        for box in boxes(source, stbl.payload, stbl.end):
            if box.kind in (b"stco", b"co64"):
                offsets = [offset + by for offset in _offsets(source, box)]
                kind, letter = (b"co64", "Q") if offsets[-1] > _LARGEST_SIZE else (b"stco", "I")
                parts.append(full_box(kind, struct.pack(f">I{len(offsets)}{letter}", len(offsets), *offsets)))
            else:
                parts.append(_content(source, box))
        return parts

    return change


def _samples_of(source: IO[bytes], track: Box) -> Span:
    """Where the samples of a track that FFmpeg wrote in one go lie."""
    found: dict[bytes, Box] = {}

    def note(stbl: Box) -> Parts:
        found.update((box.kind, box) for box in boxes(source, stbl.payload, stbl.end))
        return []

    _with_tables(source, track, note)
    offsets = _offsets(source, found[b"co64" if b"co64" in found else b"stco"])
    return Span(offsets[0], _bytes_of_samples(source, found[b"stsz"]))


def _offsets(source: IO[bytes], box: Box) -> list[int]:
    content = _content(source, box)
    (count,) = struct.unpack_from(">I", content, 12)
    return list(struct.unpack_from(f">{count}{'Q' if box.kind == b'co64' else 'I'}", content, 16))


def _bytes_of_samples(source: IO[bytes], stsz: Box) -> int:
    content = _content(source, stsz)
    each, count = struct.unpack_from(">2I", content, 12)
    return each * count if each else sum(struct.unpack_from(f">{count}I", content, 20))


def _beginning_of_samples(filler: bytes, payload: int) -> bytes:
    """The header of `mdat`, of as many bytes whether its size has 32 bits or 64."""
    if HEADER_BYTES + payload <= _LARGEST_SIZE:
        return filler + struct.pack(">I4s", HEADER_BYTES + payload, b"mdat")
    return struct.pack(">I4sQ", 1, b"mdat", 2 * HEADER_BYTES + payload)


def _content(source: IO[bytes], box: Box) -> bytes:
    """A box with its header."""
    return _at(source, Span(box.begin, box.size))


def _at(source: IO[bytes], span: Span) -> bytes:
    source.seek(span.begin)
    return source.read(span.size)
