"""Whether a result holds everything of its source: two indexes in, a list of checks out. Nothing is read here.

What counts as equal, in time: a result's clock shows the same instant, to the tick, when it can; when its ticks are
coarser or others (Matroska counts milliseconds), the nearest tick. Nothing else is near enough.

A difference is a `fault` when no container excuses it: frames, times, packets, turning and shape of the picture, or a
result that does not decode. It is a `loss` when a container may be unable to hold the thing: tags, titles, chapters. A
fault keeps a result from being committed; a loss is put on record in the manifest, and is allowed from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from fractions import Fraction
from itertools import zip_longest
from typing import Any, Literal

import numpy as np

from storage.encoding import lost_in_format
from storage.media_index import NO_TIME, Attachment, Chapter, FrameIndex, MediaIndex, PacketLog, StreamIndex
from storage.probe import VideoProbe

State = Literal["equal", "allowed", "loss", "fault"]

MUXER_TAGS = frozenset(("major_brand", "minor_version", "compatible_brands", "encoder", "duration"))
"""Tags that a muxer writes for itself, lower case; a source's would be untrue of the result."""

_STATISTICS_TAGS = ("bps", "number_of_frames", "number_of_bytes", "_statistics_")
"""How tags begin that mkvmerge writes for its own statistics: they describe the old file."""

_HANDLER_TAGS = frozenset(("handler_name", "vendor_id"))
"""Of MP4 and MOV alone."""

_ASPECT_TOLERANCE = Fraction(1, 1000)
"""Share of the shape: aspect ratios are stored with few digits."""

_HEADER_DURATION_SLACK = Fraction(1, 10)
"""Seconds that a header's duration may be off, beside two frames."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    subject: str
    """`file`, `picture`, or a stream, such as `stream 1 (audio, aac)`."""
    what: str
    state: State
    told: str
    """How much was compared, or what differs, in words."""

    @property
    def passed(self) -> bool:
        return self.state in ("equal", "allowed")

    def __str__(self) -> str:
        return f"{self.subject}: {self.what}: {self.told}"


@dataclass(frozen=True)
class Terms:
    """What a result may leave out or change."""

    left_out: frozenset[int] = frozenset()
    """Streams of the source, by index, that the result's container cannot hold."""
    named: frozenset[str] = frozenset()
    """Losses that the manifest names, as `str(Check)` tells them."""
    same_shape: bool = True
    """Whether the picture shows what the source's shows; a comparison of two pictures side by side does not."""


@dataclass(frozen=True)
class Side:
    """A file as it is compared."""

    index: MediaIndex
    probe: VideoProbe


def compare(
    source: Side,
    expected: FrameIndex,
    result: Side,
    terms: Terms | None = None,
    *,
    encoded: PacketLog | None = None,
) -> list[Check]:
    """Every check of a result against its source.

    Args:
        expected: the frames that the result must hold, in ticks of the source.
        result: its index holds the decoded frames.
        encoded: packets of the picture as they left the encoder, where they are known.

    Returns:
        Checks in the order in which a person wants to read them; a loss that `terms` names is `allowed`.
    """
    terms = terms or Terms()
    pairs = _paired(source.index, result.index, terms)
    checks = [
        *_compare_frames(expected, result.index),
        *([] if encoded is None else [_compare_encoded(encoded, result.index.picture)]),
        *_compare_picture(source.probe, result.probe, terms),
        *_compare_streams(source.index, result.index, terms),
        *_compare_durations(source, expected, result, terms),
    ]
    for before, after in pairs:
        checks += _compare_stream(before, after, expected, source.index, result.index)
    checks += [
        _compare_chapters(source.index.chapters, result.index.chapters),
        _compare_attachments(source.index.attachments, result.index.attachments),
        *_compare_tags("file", source.index.metadata, result.index.metadata, MUXER_TAGS),
    ]
    return [
        replace(check, state="allowed", told=f"{check.told} (named in the manifest)")
        if check.state == "loss" and str(check) in terms.named
        else check
        for check in checks
    ]


def off_the_tick(pts: np.ndarray, of: Fraction, found: np.ndarray, found_of: Fraction) -> np.ndarray:
    """Where `found`, counted in `found_of`, is not the tick nearest to `pts`, counted in `of`.

    Two ticks that are equally near are both right. A time that one side lacks is wrong when the other has it.

    Returns:
        (N,) bool.
    """
    ratio = of / found_of
    known = (pts != NO_TIME) & (found != NO_TIME)
    largest = max(int(np.abs(values[known]).max(initial=0)) for values in (pts, found))
    wide = largest * max(ratio.numerator, ratio.denominator) >= 1 << 61
    left, right = (values.astype(object) if wide else values for values in (pts, found))
    distance = np.abs(right * ratio.denominator - left * ratio.numerator)
    wrong = np.asarray(2 * distance > ratio.denominator if ratio.denominator > 1 else distance != 0, dtype=bool)
    return np.where(known, wrong, pts != found)


def _compare_frames(expected: FrameIndex, result: MediaIndex) -> Iterator[Check]:
    found = result.frames
    assert found is not None
    count = (
        f"{len(found.pts)} frames"
        if len(found.pts) == len(expected.pts)
        else (f"{len(found.pts)} frames instead of {len(expected.pts)}")
    )
    yield Check("picture", "frames", "equal" if len(found.pts) == len(expected.pts) else "fault", count)
    yield _compare_frame_times(expected, found)
    damaged = found.not_decoded + found.without_pts + abs(len(result.picture.packets) - len(found.pts))
    yield Check(
        "picture",
        "decodes from start to end",
        "fault" if damaged else "equal",
        f"{len(result.picture.packets)} packets gave {len(found.pts)} frames"
        + (f"; {found.not_decoded} are damaged" if found.not_decoded else "")
        + (f"; {found.without_pts} have no pts" if found.without_pts else ""),
    )


def _compare_frame_times(expected: FrameIndex, found: FrameIndex) -> Check:
    """The lists of pts; a difference is told by what it looks like at its first place."""
    shared = min(len(expected.pts), len(found.pts))
    wrong = off_the_tick(expected.pts[:shared], expected.time_base, found.pts[:shared], found.time_base)
    exact = expected.time_base == found.time_base
    if not wrong.any() and len(expected.pts) == len(found.pts):
        if exact:
            return Check("picture", "timestamps", "equal", f"every pts to the tick of {expected.time_base} s")
        return _converted("picture", "timestamps", expected.time_base, found.time_base)
    at = int(wrong.argmax()) if wrong.any() else shared
    return Check("picture", "timestamps", "fault", _first_wrong_frame(expected, found, at))


def _first_wrong_frame(expected: FrameIndex, found: FrameIndex, at: int) -> str:
    def on_clock(pts: int) -> Fraction:
        return pts * expected.time_base / found.time_base

    wanted = on_clock(int(expected.pts[at])) if at < len(expected.pts) else None
    got = int(found.pts[at]) if at < len(found.pts) else None
    if got is None:
        return f"the result ends after frame {at}; the source goes on from pts {expected.pts[at]}"
    if wanted is None:
        return f"the source ends after frame {at}; the result goes on at pts {got}"
    following = on_clock(int(expected.pts[at + 1])) if at + 1 < len(expected.pts) else None
    if following is not None and len(found.pts) < len(expected.pts) and abs(got - following) <= Fraction(1, 2):
        return f"frame {at}, of pts {expected.pts[at]}, is missing"
    if len(found.pts) > len(expected.pts) and got < wanted:
        return f"frame {at}, at pts {got} of the result, is one that the source does not have"
    return f"frame {at} is at pts {got} of the result instead of {_ticks(wanted)}"


def _ticks(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.3f}"


def _converted(subject: str, what: str, of: Fraction, to: Fraction) -> Check:
    """Times on another clock: equal where every tick of the old one is a whole number of ticks of the new one."""
    if (of / to).denominator == 1:
        return Check(subject, what, "equal", f"every one exactly, on a clock of {to} s instead of {of} s")
    return Check(subject, what, "allowed", f"every one at the nearest tick: the clock is {to} s instead of {of} s")


def _compare_picture(source: VideoProbe, result: VideoProbe, terms: Terms) -> Iterator[Check]:
    turned: State = "equal" if source.rotation == result.rotation else "fault"
    told = f"{result.rotation} degrees" + (f" instead of {source.rotation}" if turned == "fault" else "")
    yield Check("picture", "rotation", turned, told)
    if terms.same_shape:
        yield _compare_shape(source, result)
        yield from _compare_picture_tags(source, result)
    for what, before, after in (
        ("colour range", source.color_range, result.color_range),
        ("colour primaries", source.color_primaries, result.color_primaries),
        ("transfer characteristics", source.color_trc, result.color_trc),
        ("colour matrix", source.colorspace, result.colorspace),
    ):
        from_rgb = what == "colour matrix" and before == 0
        if before == after:
            yield Check("picture", what, "equal", str(after))
        else:
            yield Check(
                "picture",
                what,
                "allowed" if from_rgb else "loss",
                f"code {after} instead of {before}" + (": RGB was encoded as YUV" if from_rgb else ""),
            )


def _compare_picture_tags(source: VideoProbe, result: VideoProbe) -> Iterator[Check]:
    """Field order, HDR metadata, cropping and the like, and what the format of the samples has no place for."""
    across, down = Fraction(result.width, source.width), Fraction(result.height, source.height)
    expected = source.tags.scaled(across, down)
    unlike = expected.unlike(result.tags)
    for name in unlike:
        yield told_otherwise(name)
    if not unlike:
        yield Check("picture", "field order, HDR metadata, orientation, cropping, 3-D", "equal", "as the source's")
    for name in (*source.tags.left_out, *lost_in_format(source.pix_fmt, result.pix_fmt)):
        yield Check("picture", name, "loss", "no result can hold it")


def told_otherwise(tag: str) -> Check:
    """The loss of a tag of the picture, or its change."""
    return Check("picture", tag, "loss", "the result says it otherwise or not at all")


def _compare_shape(source: VideoProbe, result: VideoProbe) -> Check:
    def shape(probe: VideoProbe) -> Fraction:
        return probe.sample_aspect_ratio * probe.width / probe.height

    before, after = shape(source), shape(result)
    same = abs(after - before) <= before * _ASPECT_TOLERANCE
    told = (
        f"{result.width}x{result.height}, pixels {result.sample_aspect_ratio} "
        f"(source: {source.width}x{source.height}, {source.sample_aspect_ratio})"
    )
    return Check("picture", "shape", "equal" if same else "fault", told)


def _paired(source: MediaIndex, result: MediaIndex, terms: Terms) -> list[tuple[StreamIndex, StreamIndex]]:
    """The other streams, each with what it became: by order, and by kind and codec when some are missing."""
    before = [stream for stream in source.others if stream.index not in terms.left_out]
    after = result.others
    if len(before) == len(after):
        return list(zip(before, after, strict=True))
    kinds = [[(stream.kind, stream.codec) for stream in streams] for streams in (before, after)]
    blocks = SequenceMatcher(None, kinds[0], kinds[1], autojunk=False).get_matching_blocks()
    return [pair for a, b, size in blocks for pair in zip(before[a : a + size], after[b : b + size], strict=True)]


def _compare_streams(source: MediaIndex, result: MediaIndex, terms: Terms) -> Iterator[Check]:
    def kinds(index: MediaIndex, left_out: frozenset[int] = frozenset()) -> list[str]:
        return [
            "the picture" if stream.index == index.video else f"{stream.kind}:{stream.codec or 'unknown'}"
            for stream in index.streams
            if stream.index not in left_out
        ]

    wanted, found = kinds(source, terms.left_out), kinds(result)
    same = wanted == found
    told = ", ".join(found) + ("" if same else f" instead of {', '.join(wanted)}")
    yield Check("file", "streams", "equal" if same else "fault", told)
    for stream in source.streams:
        if stream.index in terms.left_out:
            yield Check("file", "streams left out", "allowed", f"{stream.name} (named in the manifest)")


def _compare_durations(source: Side, expected: FrameIndex, result: Side, terms: Terms) -> Iterator[Check]:
    """From the first to the last instant that anything is shown or heard; the last frame's own length is nominal."""
    found = result.index.frames
    assert found is not None
    frame = source.probe.frame_ticks * source.probe.time_base
    before, after = _span(source.index, expected, frame, terms.left_out), _span(result.index, found, frame)
    if before is None or after is None:
        return
    slack = max(frame, result.probe.time_base)
    lengths = before[1] - before[0], after[1] - after[0]
    told = f"{float(lengths[1]):.3f} s" + (
        "" if abs(lengths[1] - lengths[0]) <= slack else f" instead of {float(lengths[0]):.3f} s"
    )
    yield Check("file", "duration", "equal" if abs(lengths[1] - lengths[0]) <= slack else "fault", told)
    claimed = result.index.duration
    if claimed is not None:
        # A packet's duration may be a guess of the demuxer's: what the source's own header says is as good.
        off = min(abs(claimed - told) for told in (lengths[1], after[1], source.index.duration or lengths[1]))
        good = off <= 2 * frame + _HEADER_DURATION_SLACK
        yield Check("file", "duration in the header", "equal" if good else "loss", f"{float(claimed):.3f} s")


def _span(
    index: MediaIndex, frames: FrameIndex, frame: Fraction, left_out: frozenset[int] = frozenset()
) -> tuple[Fraction, Fraction] | None:
    """Seconds of the first and of the last instant."""
    spans = [
        (stream.packets.first_pts * stream.time_base, stream.packets.end_pts * stream.time_base)
        for stream in index.others
        if stream.kind == "audio"
        and stream.index not in left_out
        and stream.packets.first_pts is not None
        and stream.packets.end_pts is not None
    ]
    if len(frames.pts):
        first, last = (int(pts) * frames.time_base for pts in (frames.pts.min(), frames.pts.max()))
        spans.append((first, last + frame))
    if not spans:
        return None
    return min(first for first, _ in spans), max(last for _, last in spans)


def _compare_stream(
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
        yield _plain(
            before.name,
            "samples to skip at start and end",
            before.skipped_samples,
            after.skipped_samples,
            "fault" if same_container else "loss",
        )
    yield _plain(before.name, "dispositions", before.disposition, after.disposition, "loss")
    own = MUXER_TAGS if same_container else MUXER_TAGS | _HANDLER_TAGS
    yield from _compare_tags(before.name, before.metadata, after.metadata, own)


def _compare_packets(before: StreamIndex, after: StreamIndex, source: MediaIndex) -> Check:
    wrong_at = _first_row(before.packets, after.packets, lambda left, right: left["digest"] != right["digest"])
    counts = len(before.packets), len(after.packets)
    if wrong_at is None and counts[0] == counts[1]:
        return Check(before.name, "packets", "equal", f"{counts[1]}, each by its hash")
    number = f"{counts[1]} packets" + ("" if counts[0] == counts[1] else f" instead of {counts[0]}")
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


def _compare_encoded(encoded: PacketLog, picture: StreamIndex) -> Check:
    wrong_at = _first_row(encoded, picture.packets, lambda left, right: left["digest"] != right["digest"])
    if wrong_at is None and len(encoded) == len(picture.packets):
        return Check("picture", "packets", "equal", f"{len(encoded)}, each as it was encoded, by its hash")
    where = "" if wrong_at is None else f"; packet {wrong_at} is another"
    return Check("picture", "packets", "fault", f"{len(picture.packets)}, {len(encoded)} were encoded{where}")


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

    wrong_at = _first_row(before.packets, after.packets, at("pts"))
    if wrong_at is not None:
        yield Check(before.name, "timestamps", "fault", f"packet {wrong_at} {_moved(before, after, wrong_at)}")
    elif before.time_base == after.time_base:
        yield Check(before.name, "timestamps", "equal", f"every pts to the tick of {before.time_base} s")
    else:
        yield _converted(before.name, "timestamps", before.time_base, after.time_base)
    if same_container and before.time_base == after.time_base and not source_without_dts:
        wrong_at = _first_row(before.packets, after.packets, lambda left, right: left["dts"] != right["dts"])
        state: State = "equal" if wrong_at is None else "loss"
        yield Check(
            before.name, "decoding times", state, "every dts" if wrong_at is None else f"from packet {wrong_at} on"
        )
    if before.kind == "subtitle" or (same_container and before.time_base == after.time_base):
        wrong_at = _first_row(before.packets, after.packets, at("duration"))
        state = "equal" if wrong_at is None else "fault" if before.kind == "subtitle" else "loss"
        yield Check(
            before.name,
            "durations",
            state,
            "every packet's" if wrong_at is None else f"packet {wrong_at} has another one",
        )


def _moved(before: StreamIndex, after: StreamIndex, number: int) -> str:
    rows = []
    for stream in (before, after):
        passed = 0
        for chunk in stream.packets.chunks():
            if number < passed + len(chunk):
                rows.append(int(chunk["pts"][number - passed]))
                break
            passed += len(chunk)
    if NO_TIME in rows:
        return "has a pts on one side only"
    moved = float(rows[1] * after.time_base - rows[0] * before.time_base)
    return f"of pts {rows[0]} stands at {rows[1]} of the result, {1000 * moved:+.3f} ms"


def _compare_offset(before: StreamIndex, after: StreamIndex, expected: FrameIndex, result: MediaIndex) -> Check | None:
    """How long after the first frame the sound begins."""
    found = result.frames
    assert found is not None
    starts = before.packets.first_pts, after.packets.first_pts
    if starts[0] is None or starts[1] is None or not len(expected.pts) or not len(found.pts):
        return None
    wanted = starts[0] * before.time_base - int(expected.pts[0]) * expected.time_base
    offset = starts[1] * after.time_base - int(found.pts[0]) * found.time_base
    clocks = ((before.time_base, after.time_base), (expected.time_base, found.time_base))
    rounding = sum((new / 2 for old, new in clocks if (old / new).denominator != 1), Fraction(0))
    same = abs(offset - wanted) <= rounding
    told = f"{1000 * float(offset):+.3f} ms" + ("" if same else f" instead of {1000 * float(wanted):+.3f} ms")
    return Check(before.name, "offset to the picture", "equal" if same else "fault", told)


def _compare_chapters(before: Sequence[Chapter], after: Sequence[Chapter]) -> Check:
    for number, (left, right) in enumerate(zip_longest(before, after), 1):
        if left is None or right is None:
            return Check("file", "chapters", "loss", f"{len(after)} instead of {len(before)}")
        tick = max(left.time_base, right.time_base)
        moved = max(abs(left.start - right.start), abs(left.end - right.end)) > tick
        if moved or left.title != right.title:
            return Check(
                "file", "chapters", "loss", f"chapter {number} is '{right.title}' at {float(right.start):.3f} s"
            )
    return Check("file", "chapters", "equal", str(len(after)))


def _compare_attachments(before: Sequence[Attachment], after: Sequence[Attachment]) -> Check:
    if list(before) == list(after):
        return Check("file", "attachments", "equal", str(len(after)))
    lost = [attachment.name for attachment in before if attachment not in after]
    return Check("file", "attachments", "loss", f"{len(after)} instead of {len(before)}; not as they were: {lost}")


def _compare_tags(
    subject: str, before: Mapping[str, str], after: Mapping[str, str], own: frozenset[str]
) -> Iterator[Check]:
    """One check for all tags that are there, and one for each that is not, or says something else."""
    found = {key.lower(): text for key, text in after.items()}
    kept = 0
    for key, text in before.items():
        name = key.lower()
        if name in own or name.startswith(_STATISTICS_TAGS):
            continue
        if found.get(name) == text or (name == "language" and text == "und" and name not in found):
            kept += 1
        else:
            yield Check(subject, f"tag {key}", "loss", f"{found.get(name, 'nothing')!r} instead of {text!r}")
    yield Check(subject, "tags", "equal", f"{kept} as they were")


def _plain(subject: str, what: str, before: Any, after: Any, otherwise: State) -> Check:
    """A check of two values for equality."""
    if before == after:
        return Check(subject, what, "equal", str(after))
    return Check(subject, what, otherwise, f"{after} instead of {before}")
