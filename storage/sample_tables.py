"""The sample tables of one track of an MP4 (ISO 14496-12, 8.6 and 8.7), of any number of samples in bounded memory.

They are those that FFmpeg's muxer writes, which holds 80 bytes a sample until it does.
"""

from __future__ import annotations

import struct
import tempfile
from array import array
from collections.abc import Iterator
from typing import IO

import numpy as np

from storage.mp4_boxes import HEADER_BYTES, full_box

_NUMBERS_PER_CHUNK = 1 << 13
_IN_MEMORY_BYTES = 1 << 16
"""A column up to this size stays in memory; a track has six at the most."""

_CHUNK_BYTES = 1 << 20
"""A chunk stays below, as FFmpeg's do."""

_LARGEST_32 = (1 << 32) - 1
"""The largest offset of a chunk that the box of 32-bit offsets holds."""

_DEPENDS, _DEPENDS_NOT = 1 << 4, 2 << 4
_IS_DISPOSABLE = 2 << 2
"""Flags of `sdtp`."""


class Column:
    """Numbers from 0 on, kept in a temporary file once they are many."""

    def __init__(self, kind: str = "u4") -> None:
        """Args:
        kind: numpy's, without byte order.
        """
        self.kind = np.dtype(">" + kind)
        self._waiting: array[int] = array("Q")
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - lives as long as the column
        self._written = 0

    def __len__(self) -> int:
        return self._written + len(self._waiting)

    def add(self, number: int) -> None:
        """Enter the next."""
        self._waiting.append(number)
        if len(self._waiting) == _NUMBERS_PER_CHUNK:
            self._flush()

    def chunks(self, kind: str = "", plus: int = 0) -> Iterator[bytes]:
        """All of them, big-endian, a bounded number at a time.

        Args:
            kind: other than the column's own.
            plus: is added to each.
        """
        self._flush()
        self._file.seek(0)
        while content := self._file.read(_NUMBERS_PER_CHUNK * self.kind.itemsize):
            numbers = np.frombuffer(content, self.kind).astype(np.int64) + plus
            yield numbers.astype(">" + kind if kind else self.kind).tobytes()

    def _flush(self) -> None:
        self._file.seek(0, 2)
        self._file.write(np.array(self._waiting, self.kind).tobytes())
        self._written += len(self._waiting)
        self._waiting = array("Q")


class _Runs:
    """Numbers as runs of equal ones: how many, and which."""

    def __init__(self) -> None:
        self.entries = Column()
        self._number, self._count = -1, 0

    def add(self, number: int) -> None:
        if number != self._number:
            self.close()
            self._number = number
        self._count += 1

    def close(self) -> None:
        """Enter the run that is not yet."""
        if self._count:
            self.entries.add(self._count)
            self.entries.add(self._number)
        self._count = 0


class ColumnBox:
    """A box whose payload is a column."""

    def __init__(self, kind: bytes, before: bytes, column: Column, *, wide: str = "", plus: int = 0) -> None:
        """Args:
        before: of the payload, behind version and flags.
        wide: kind of the numbers when it is not the column's own.
        plus: is added to each.
        """
        self._kind, self._before, self._column, self._wide, self._plus = kind, before, column, wide, plus
        each = np.dtype(wide or column.kind).itemsize
        self.size = len(full_box(kind, before)) + each * len(column)
        """Bytes, its header included."""

    def chunks(self) -> Iterator[bytes]:
        """What is to be written, a bounded number of bytes at a time."""
        header = full_box(self._kind, self._before)
        yield struct.pack(">I", self.size) + header[4:]
        yield from self._column.chunks(self._wide, self._plus)


class SampleTables:
    """Where the samples of one track lie and when they are shown, entered one after the other in coding order."""

    def __init__(self, timescale: int, *, is_video: bool, sample_bytes: int = 0) -> None:
        """Args:
        timescale: ticks a second.
        is_video: whether keyframes and times of showing are told.
        sample_bytes: of audio whose packets hold many samples of equal size, such as PCM; else 0.
        """
        self._timescale, self._is_video, self._sample_bytes = timescale, is_video, sample_bytes
        self.entries = 0
        """Packets that were entered."""
        self.samples = 0
        """In them, as the track's headers count them."""
        self.bytes = 0
        """Of all of them."""
        self._steps, self._offsets, self._sizes = _Runs(), _Runs(), Column()
        self._keyframes, self._flags = Column(), Column("u1")
        self._disposable = self._reordered = False
        self._chunks, self._stsc = Column("u8"), Column()
        self._one_size: int | None = None
        self._first_dts = self._last_dts = self._ticks = 0
        self._chunk = (0, 0, 0)
        self._chunk_samples = 0
        self._last_told = (0, 0)

    def add(
        self,
        position: int,
        size: int,
        dts: int,
        offset: int = 0,
        keyframe: bool = True,
        disposable: bool = False,
        description: int = 1,
    ) -> None:
        """Enter the next packet.

        Args:
            position: byte that it begins at.
            dts: ticks of the track.
            offset: of its pts from its dts, ticks.
            description: number of its sample entry, from 1 on.
        """
        if self.entries:
            self._steps.add(dts - self._last_dts)
        else:
            self._first_dts = dts
        self._last_dts = dts
        self._one_size = size if self._one_size in (None, size) else 0
        if not self._sample_bytes:
            self._sizes.add(size)
        samples = size // self._sample_bytes if self._sample_bytes else 1
        self.entries, self.samples, self.bytes = self.entries + 1, self.samples + samples, self.bytes + size
        if self._is_video:
            self._offsets.add(offset)
            self._reordered = self._reordered or offset != 0
            if keyframe:
                self._keyframes.add(self.entries)
            self._flags.add((_DEPENDS_NOT if keyframe else _DEPENDS) | (_IS_DISPOSABLE if disposable else 0))
            self._disposable = self._disposable or disposable
        self._put_in_chunk(position, size, samples, description)

    def _put_in_chunk(self, position: int, size: int, samples: int, description: int) -> None:
        begin, end, described = self._chunk
        if position != end or description != described or end - begin + size >= _CHUNK_BYTES or not len(self._chunks):
            self._close_chunk()
            self._chunks.add(position)
            begin = position
        self._chunk = (begin, position + size, description)
        self._chunk_samples += samples

    def _close_chunk(self) -> None:
        told = (self._chunk_samples, self._chunk[2])
        if self._chunk_samples and told != self._last_told:
            for number in (len(self._chunks), *told):
                self._stsc.add(number)
            self._last_told = told
        self._chunk_samples = 0

    def close(self, last_duration: int) -> None:
        """No packet comes any more; the last one is shown for so many ticks."""
        self._ticks = self._last_dts + last_duration - self._first_dts
        self._steps.add(last_duration)
        self._steps.close()
        self._offsets.close()
        self._close_chunk()

    def bits_a_second(self, size: int) -> int:
        """The mean rate of a track as long as this one with so many bytes; 0 for one without a duration."""
        return size * 8 * self._timescale // self._ticks if self._ticks else 0

    def offsets_of_64_bits(self, plus: int) -> bool:
        """Whether the last chunk is so far behind that its place, moved by `plus` bytes, needs them."""
        return self._chunk[0] + plus > _LARGEST_32

    def boxes(self, plus: int) -> list[ColumnBox | bytes]:
        """The boxes between `stsd` and `sgpd`, in FFmpeg's order; every position is moved by `plus` bytes.

        They are as long whatever `plus` is, unless `offsets_of_64_bits` tells otherwise.
        """
        tables: list[ColumnBox | bytes] = [self._times()]
        if self._is_video and 0 < len(self._keyframes) < self.entries:
            tables.append(ColumnBox(b"stss", struct.pack(">I", len(self._keyframes)), self._keyframes))
        if self._disposable:
            tables.append(ColumnBox(b"sdtp", b"", self._flags))
        if self._reordered:
            entries = self._offsets.entries
            tables.append(ColumnBox(b"ctts", struct.pack(">I", len(entries) // 2), entries))
        tables.append(ColumnBox(b"stsc", struct.pack(">I", len(self._stsc) // 3), self._stsc))
        tables.append(self._all_sizes())
        kind, wide = (b"co64", "u8") if self.offsets_of_64_bits(plus) else (b"stco", "u4")
        tables.append(ColumnBox(kind, struct.pack(">I", len(self._chunks)), self._chunks, wide=wide, plus=plus))
        return tables

    def _times(self) -> ColumnBox | bytes:
        if self._sample_bytes:
            return full_box(b"stts", struct.pack(">3I", 1, self.samples, 1))
        entries = self._steps.entries
        return ColumnBox(b"stts", struct.pack(">I", len(entries) // 2), entries)

    def _all_sizes(self) -> ColumnBox | bytes:
        equal = self._sample_bytes or self._one_size
        if equal:
            return full_box(b"stsz", struct.pack(">2I", equal, self.samples))
        return ColumnBox(b"stsz", struct.pack(">2I", 0, self.entries), self._sizes)


Parts = list[ColumnBox | bytes]
"""A box, or several, of which only the tables are large."""


def box_of(kind: bytes, parts: Parts) -> Parts:
    """A box that holds others."""
    return [struct.pack(">I4s", HEADER_BYTES + size_of(parts), kind), *parts]


def size_of(parts: Parts) -> int:
    """Bytes of all of them."""
    return sum(part.size if isinstance(part, ColumnBox) else len(part) for part in parts)
