"""Checks of every stream that was copied: its packets, their times, its tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction

import numpy as np
from av.stream import Disposition

from storage.checks import Check, State, converted, off_the_tick, plain
from storage.media_index import FrameIndex, MediaIndex, StreamIndex
from storage.packet_log import NO_TIME, PacketLog
from storage.words import counted

MUXER_TAGS = frozenset(("major_brand", "minor_version", "compatible_brands", "encoder", "duration"))
"""Tags that a muxer writes for itself, lower case; a source's would be untrue of the result."""

_STATISTICS_TAGS = ("bps", "number_of_frames", "number_of_bytes", "_statistics_")
"""How tags begin that mkvmerge writes for its own statistics: they describe the old file."""

_HANDLER_TAGS = frozenset(("handler_name", "vendor_id"))
"""Of MP4 and MOV alone."""


def compare_stream(
    before: StreamIndex, after: StreamIndex, expected: FrameIndex, source: MediaIndex, result: MediaIndex
) -> Iterator[Check]:
    """One stream that was copied."""
    same_container = source.container == result.container
    yield _compare_packets(before, after, source)
    yield from _compare_packet_times(before, after, same_container, source_without_dts="matroska" in source.container)
    if before.kind == "audio":
        offset = _compare_offset(before, after, expected, result)
        if offset is not None:
            yield offset
        yield plain(
            before.name,
            "samples to skip at start and end",
            "{} and {}".format(*before.skipped_samples),
            "{} and {}".format(*after.skipped_samples),
            "fault" if same_container else "loss",
        )
    yield from compare_description(before.name, before, after, same_container=same_container)


def compare_description(
    subject: str, before: StreamIndex, after: StreamIndex, *, same_container: bool
) -> Iterator[Check]:
    """Language, title and what else a stream says of itself."""
    only_default = not same_container and after.disposition == before.disposition | Disposition.default
    check = plain(subject, "dispositions", _names(before.disposition), _names(after.disposition), "loss")
    if only_default and check.state == "loss":
        told = f"{check.told}: its container has a default track of each kind"
        check = Check(subject, "dispositions", "allowed", told)
    yield check
    own = MUXER_TAGS if same_container else MUXER_TAGS | _HANDLER_TAGS
    yield from compare_tags(subject, before.metadata, after.metadata, own)


def _names(disposition: int) -> str:
    return ", ".join(each.name for each in Disposition(disposition) if each.name) or "none"


def compare_encoded(encoded: PacketLog, picture: StreamIndex) -> Check:
    """The picture's packets against those that left the encoder."""
    wrong_at = _first_row(encoded, picture.packets, lambda left, right: left["digest"] != right["digest"])
    if wrong_at is None and len(encoded) == len(picture.packets):
        return Check("picture", "packets", "equal", f"{len(encoded)}, each as it was encoded, by its hash")
    where = "" if wrong_at is None else f"; packet {wrong_at} is another"
    return Check("picture", "packets", "fault", f"{len(picture.packets)}, {len(encoded)} were encoded{where}")


def _compare_packets(before: StreamIndex, after: StreamIndex, source: MediaIndex) -> Check:
    wrong_at = _first_row(before.packets, after.packets, lambda left, right: left["digest"] != right["digest"])
    counts = len(before.packets), len(after.packets)
    if wrong_at is None and counts[0] == counts[1]:
        return Check(before.name, "packets", "equal", f"{counts[1]}, each by its hash")
    number = counted(counts[1], "packet") + ("" if counts[0] == counts[1] else f" instead of {counts[0]}")
    where = "" if wrong_at is None else f"; from packet {wrong_at} on they are others"
    twin = _whose_packets(after, before, source)
    return Check(
        before.name, "packets", "fault", number + where + (f": those of {twin.name} of the source" if twin else "")
    )


def _whose_packets(after: StreamIndex, before: StreamIndex, source: MediaIndex) -> StreamIndex | None:
    """The other stream of the source whose packets these are, if one begins with them."""
    opening = next(after.packets.chunks(), None)
    for stream in source.others:
        other = next(stream.packets.chunks(), None) if stream is not before else None
        if opening is not None and other is not None and np.array_equal(opening["digest"], other["digest"]):
            return stream
    return None


def _first_row(
    before: PacketLog, after: PacketLog, differ: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> int | None:
    """Number of the first packet, of those that both have, at which `differ` is true."""
    passed = 0
    for left, right in zip(before.chunks(), after.chunks(), strict=False):
        shared = min(len(left), len(right))
        wrong = differ(left[:shared], right[:shared])
        if wrong.any():
            return passed + int(wrong.argmax())
        passed += shared
    return None


def _compare_packet_times(
    before: StreamIndex, after: StreamIndex, same_container: bool, *, source_without_dts: bool
) -> Iterator[Check]:
    def at(column: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        return lambda left, right: off_the_tick(left[column], before.time_base, right[column], after.time_base)

    every = _every(before, after)
    wrong_at = _first_row(before.packets, after.packets, at("pts"))
    if wrong_at is not None:
        yield Check(before.name, "timestamps", "fault", f"packet {wrong_at} {_moved(before, after, wrong_at)}")
    elif before.time_base == after.time_base:
        yield Check(before.name, "timestamps", "equal", f"{every}, to the tick of {before.time_base} s")
    else:
        yield converted(before.name, "timestamps", before.time_base, after.time_base, every)
    same_clock = same_container and before.time_base == after.time_base
    if same_clock and not source_without_dts:
        wrong_at = _first_row(before.packets, after.packets, lambda left, right: left["dts"] != right["dts"])
        told = every if wrong_at is None else f"from packet {wrong_at} on they are others"
        yield Check(before.name, "decoding times", "equal" if wrong_at is None else "loss", told)
    if before.kind == "subtitle" or same_clock:
        wrong_at = _first_row(before.packets, after.packets, at("duration"))
        state: State = "equal" if wrong_at is None else "fault" if before.kind == "subtitle" else "loss"
        told = every if wrong_at is None else f"packet {wrong_at} {_lasting(before, after, wrong_at)}"
        yield Check(before.name, "durations", state, told)


def _every(before: StreamIndex, after: StreamIndex) -> str:
    """Which packets a comparison of two streams looks at, one by one."""
    shared = min(len(before.packets), len(after.packets))
    if not shared:
        return "no packet to compare"
    if len(before.packets) == len(after.packets):
        return f"each of {counted(shared, 'packet')}"
    return f"each of the {counted(shared, 'packet')} that both have"


def _lasting(before: StreamIndex, after: StreamIndex, number: int) -> str:
    wanted, found = (_told_of(stream, number, "duration") * stream.time_base * 1000 for stream in (before, after))
    return f"lasts {float(found):g} ms instead of {float(wanted):g} ms"


def _told_of(stream: StreamIndex, number: int, column: str) -> int:
    """Of a packet by its number."""
    passed = 0
    for chunk in stream.packets.chunks():
        if number < passed + len(chunk):
            return int(chunk[column][number - passed])
        passed += len(chunk)
    raise IndexError(number)


def _moved(before: StreamIndex, after: StreamIndex, number: int) -> str:
    rows = [_told_of(stream, number, "pts") for stream in (before, after)]
    if NO_TIME in rows:
        return "has a pts on one side only"
    wanted, found = rows[0] * before.time_base, rows[1] * after.time_base
    return f"is at {float(found):.6f} s instead of {float(wanted):.6f} s, {1000 * float(found - wanted):+.3f} ms"


def _compare_offset(before: StreamIndex, after: StreamIndex, expected: FrameIndex, result: MediaIndex) -> Check | None:
    """How long after the first frame the sound begins."""
    found = result.frames
    assert found is not None
    starts = before.packets.first_pts, after.packets.first_pts
    if starts[0] is None or starts[1] is None or not len(expected.pts) or not len(found.pts):
        return None
    wanted = starts[0] * before.time_base - expected.pts[0] * expected.time_base
    offset = starts[1] * after.time_base - found.pts[0] * found.time_base
    clocks = ((before.time_base, after.time_base), (expected.time_base, found.time_base))
    rounding = sum((new / 2 for old, new in clocks if (old / new).denominator != 1), Fraction(0))
    same = abs(offset - wanted) <= rounding
    told = f"{1000 * float(offset):+.3f} ms" + ("" if same else f" instead of {1000 * float(wanted):+.3f} ms")
    return Check(before.name, "offset to the picture", "equal" if same else "fault", told)


def compare_tags(
    subject: str, before: Mapping[str, str], after: Mapping[str, str], own: frozenset[str]
) -> Iterator[Check]:
    """One check for all tags that are there, and one for each that is not, or says something else."""
    found = {key.lower(): text for key, text in after.items()}
    if "name" in found:  # as FFmpeg reads the title of an MP4 track
        found.setdefault("title", found["name"])
    kept = 0
    for key, text in before.items():
        name = key.lower()
        if name in own or name.startswith(_STATISTICS_TAGS):
            continue
        if found.get(name) == text or (name == "language" and text == "und" and name not in found):
            kept += 1
        else:
            said = repr(found[name]) if name in found else "nothing"
            yield Check(subject, f"tag {key}", "loss", f"{said} instead of {text!r}")
    yield Check(subject, "tags", "equal", f"{kept} as they were")
