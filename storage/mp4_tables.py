"""What the boxes of an MP4 track say of its samples (ISO 14496-12, sections 8.4 to 8.7). Tables are found, not read."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO

import numpy as np
from numpy.typing import NDArray

from storage.mp4_boxes import Box, boxes

COUNTED = np.dtype([("count", ">u4"), ("value", ">i4")])
"""Of tables in which a value stands for so many samples."""
_ENTRY_TYPES = {
    b"stts": COUNTED,
    b"ctts": COUNTED,
    b"stsc": np.dtype([("first", ">u4"), ("samples", ">u4"), ("entry", ">u4")]),
    b"stsz": np.dtype(">u4"),
    b"stco": np.dtype(">u4"),
    b"co64": np.dtype(">u8"),
    b"stss": np.dtype(">u4"),
    b"sdtp": np.dtype("u1"),
}
_WITHOUT_EFFECT = frozenset((b"sgpd", b"subs", b"cslg", b"padb", b"stdp"))
"""Boxes of samples that FFmpeg's demuxer makes nothing of; nor of groups of samples but for these:"""
_GROUPS_WITH_EFFECT = frozenset((b"rap ", b"sync"))

_MAY_REPEAT = frozenset((b"trak", b"sgpd", b"sbgp", b"subs", b"free", b"skip", b"uuid", b"udta", b"meta"))

_BLOCK_ENTRIES = 1 << 13
_MOST_EDITS = 1000
_MOST_BOXES = 1000
"""In one. Only a header that wants to cost time has more."""
EMPTY_EDIT = -1
_PLAIN_SPEED = 1 << 16

SAMPLES_A_PACKET = 1024
"""Of sound without frames, which FFmpeg's demuxer gives in packets of so many samples."""


class UnusualMovieError(Exception):
    """A movie or a track is not of the plain kind, or what its boxes say does not fit together."""


@dataclass(frozen=True)
class Table:
    """Entries of one size, one after the other."""

    begin: int
    count: int
    dtype: np.dtype

    def read(self, file: IO[bytes], first: int, count: int) -> NDArray:
        """At most `count` entries from number `first` on, counted from 0."""
        count = max(0, min(count, self.count - first))
        return np.frombuffer(
            read_at(file, self.begin + first * self.dtype.itemsize, count * self.dtype.itemsize), self.dtype
        )

    def blocks(self, file: IO[bytes], first: int = 0) -> Iterator[tuple[int, NDArray]]:
        """All entries from number `first` on, some thousand at a time, with the number of the first of them."""
        for number in range(first, self.count, _BLOCK_ENTRIES):
            yield number, self.read(file, number, _BLOCK_ENTRIES)


@dataclass(frozen=True)
class Track:
    """A track with at most one description of its samples."""

    box: Box
    track_id: int
    timescale: int
    """Ticks a second of its clock."""
    tables: dict[bytes, Table]
    """By the kind of their box: stts, stsc, stsz and chunks always."""
    sample_bytes: int
    """Of every sample; 0 where each has its own size."""
    samples: int
    is_sound: bool
    unframed: bool
    """Whether it is sound of which every sample lasts one tick: FFmpeg's demuxer takes its chunks apart by a rule."""
    edits: tuple[tuple[int, int], ...]
    """(duration in ticks of the movie's clock, first tick of the track's or `EMPTY_EDIT`)."""

    @property
    def chunks(self) -> Table:
        """Where its chunks begin, bytes of the file."""
        return self.tables[b"stco"] if b"stco" in self.tables else self.tables[b"co64"]

    @property
    def packets(self) -> int:
        """How many FFmpeg makes of it; of unframed sound, about."""
        return self.samples // SAMPLES_A_PACKET if self.unframed else self.samples


def read_track(file: IO[bytes], track: Box) -> Track:
    """A track from its `trak` box.

    Raises:
        UnusualMovieError: it is none of the plain kind.
    """
    own = children(file, track)
    media = children(file, _needed(own, b"mdia"))
    samples = _needed(children(file, _needed(media, b"minf")), b"stbl")
    tables, sample_bytes, count = _tables(file, samples)
    timescale = _number_behind_times(file, _needed(media, b"mdhd"))
    if not timescale:
        raise UnusualMovieError("a track has no clock")
    durations = tables[b"stts"]
    is_sound = read_at(file, _needed(media, b"hdlr").payload + 8, 4) == b"soun"
    return Track(
        box=track,
        track_id=_number_behind_times(file, _needed(own, b"tkhd")),
        timescale=timescale,
        tables=tables,
        sample_bytes=sample_bytes,
        samples=count,
        is_sound=is_sound,
        unframed=is_sound and durations.count == 1 and int(durations.read(file, 0, 1)["value"][0]) == 1,
        edits=_edits(file, children(file, own[b"edts"]).get(b"elst")) if b"edts" in own else (),
    )


def movie_timescale(file: IO[bytes], header: Box) -> int:
    """Ticks a second of the movie's clock, from its `mvhd` box."""
    return _number_behind_times(file, header)


def boxes_in(file: IO[bytes], parent: Box) -> list[Box]:
    """The boxes in a box.

    Raises:
        UnusualMovieError: they do not fill it.
    """
    found = list(islice(boxes(file, parent.payload, parent.end), _MOST_BOXES))
    if (found[-1].end if found else parent.payload) != parent.end:
        raise UnusualMovieError("a box does not fit into its parent")
    return found


def children(file: IO[bytes], parent: Box) -> dict[bytes, Box]:
    """The boxes in a box, by their kind.

    Raises:
        UnusualMovieError: one is there twice, or they do not fill it.
    """
    found = boxes_in(file, parent)
    single = [each.kind for each in found if each.kind not in _MAY_REPEAT]
    if len(set(single)) < len(single):
        raise UnusualMovieError("a box is there twice")
    return {each.kind: each for each in found}


def read_at(file: IO[bytes], at: int, size: int) -> bytes:
    """Raises UnusualMovieError where the file has not so many bytes there."""
    file.seek(at)
    content = file.read(size)
    if len(content) < size:
        raise UnusualMovieError("the file is cut")
    return content


def _needed(found: dict[bytes, Box], kind: bytes) -> Box:
    if kind not in found:
        raise UnusualMovieError(f"a track has no {kind.decode()}")
    return found[kind]


def _number_behind_times(file: IO[bytes], header: Box) -> int:
    """The 32-bit number behind the two times, of 32 or 64 bits, that mvhd, tkhd and mdhd begin with."""
    (version,) = read_at(file, header.payload, 1)
    return int.from_bytes(read_at(file, header.payload + 4 + (16 if version == 1 else 8), 4), "big")


def _tables(file: IO[bytes], parent: Box) -> tuple[dict[bytes, Table], int, int]:
    """Of a `stbl` box, with the bytes of every sample, or 0, and how many samples there are."""
    tables: dict[bytes, Table] = {}
    sample_bytes = samples = 0
    for kind, each in children(file, parent).items():
        first_entry = each.payload + 4
        if kind == b"stsd":
            if _number(file, first_entry) != 1:
                raise UnusualMovieError("a track's description changes")
        elif kind == b"stsz":
            sample_bytes, samples = _number(file, first_entry), _number(file, first_entry + 4)
            tables[kind] = _table(each, first_entry + 8, 0 if sample_bytes else samples)
        elif kind == b"sdtp":
            tables[kind] = _table(each, first_entry, each.end - first_entry)
        elif kind in _ENTRY_TYPES:
            tables[kind] = _table(each, first_entry + 4, _number(file, first_entry))
        elif kind == b"sbgp":
            groups = [box for box in boxes_in(file, parent) if box.kind == b"sbgp"]
            if any(read_at(file, box.payload + 4, 4) in _GROUPS_WITH_EFFECT for box in groups):
                raise UnusualMovieError("a track groups its samples")
        elif kind not in _WITHOUT_EFFECT:
            raise UnusualMovieError(f"a track has {kind!r}")
    if not {b"stts", b"stsc", b"stsz"} <= tables.keys() or (b"stco" in tables) == (b"co64" in tables):
        raise UnusualMovieError("a track lacks tables")
    return tables, sample_bytes, samples


def _number(file: IO[bytes], at: int) -> int:
    return int.from_bytes(read_at(file, at, 4), "big")


def _table(box: Box, begin: int, count: int) -> Table:
    dtype = _ENTRY_TYPES[box.kind]
    if begin + count * dtype.itemsize > box.end:
        raise UnusualMovieError("a table is larger than its box")
    return Table(begin, count, dtype)


def _edits(file: IO[bytes], box: Box | None) -> tuple[tuple[int, int], ...]:
    if box is None:
        return ()
    (version,), count = read_at(file, box.payload, 1), _number(file, box.payload + 4)
    entry = struct.Struct(">Qqi" if version == 1 else ">Iii")
    if count > _MOST_EDITS:
        raise UnusualMovieError("an edit list has many parts")
    edits = list(entry.iter_unpack(read_at(file, box.payload + 8, count * entry.size)))
    if any(rate != _PLAIN_SPEED and begin != EMPTY_EDIT for _, begin, rate in edits):
        raise UnusualMovieError("an edit list changes the speed")
    return tuple((duration, begin) for duration, begin, _ in edits)
