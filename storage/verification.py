"""Whether a result holds everything of its source: two indexes in, a list of checks out. Nothing is read here.

What counts as equal, in time: a result's clock shows the same instant, to the tick, when it can; when its ticks are
coarser or others (Matroska counts milliseconds), the nearest tick. Nothing else is near enough.

What is compared of the picture is in `storage.picture_checks`, of the other streams in `storage.stream_checks`, of the
file as a whole here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from storage.checks import Check, Side, Terms, plain
from storage.media_index import Attachment, Chapter, FrameIndex, MediaIndex, StreamIndex
from storage.packet_log import PacketLog
from storage.picture_checks import compare_frames, compare_picture
from storage.stream_checks import MUXER_TAGS, compare_description, compare_encoded, compare_stream, compare_tags
from storage.stream_pairs import paired_streams, told_apart

_HEADER_DURATION_SLACK = Fraction(1, 10)
"""Seconds that a header's duration may be off, beside two frames."""


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
    same_container = source.index.container == result.index.container
    pairs = paired_streams(source.index, result.index, terms.left_out)
    checks = [
        *compare_frames(expected, result.index),
        *([] if encoded is None else [compare_encoded(encoded, result.index.picture)]),
        *compare_picture(source.probe, result.probe, terms),
        *_compare_streams(source.index, result.index, pairs, terms),
        *_compare_durations(source, expected, result, terms),
        *compare_description("picture", source.index.picture, result.index.picture, same_container=same_container),
    ]
    for before, after in pairs:
        checks += compare_stream(before, after, expected, source.index, result.index)
    checks += [
        _compare_chapters(source.index.chapters, result.index.chapters),
        _compare_attachments(source.index.attachments, result.index.attachments),
        *_compare_programs(source.index, result.index),
        *compare_tags("file", source.index.metadata, result.index.metadata, MUXER_TAGS),
    ]
    return [
        replace(check, state="allowed", told=f"{check.told} (named in the manifest)")
        if check.state == "loss" and str(check) in terms.named
        else check
        for check in checks
    ]


def _compare_streams(
    source: MediaIndex, result: MediaIndex, pairs: Sequence[tuple[StreamIndex, StreamIndex]], terms: Terms
) -> Iterator[Check]:
    def kinds(index: MediaIndex, left_out: frozenset[int] = frozenset()) -> list[str]:
        return [
            "the picture" if stream.index == index.video else f"{stream.kind}:{stream.codec or 'unknown'}"
            for stream in index.streams
            if stream.index not in left_out
        ]

    wanted, found = kinds(source, terms.left_out), kinds(result)
    told = ", ".join(found) + ("" if wanted == found else f" instead of {', '.join(wanted)}")
    kept = {before.index for before, _ in pairs} | terms.left_out
    missing = [told_apart(stream) for stream in source.others if stream.index not in kept]
    told += f"; missing: {', '.join(missing)}" if missing else ""
    yield Check("file", "streams", "equal" if wanted == found else "fault", told)
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
        off = min(abs(claimed - length) for length in (lengths[1], after[1], source.index.duration or lengths[1]))
        good = off <= 2 * frame + _HEADER_DURATION_SLACK
        told = f"{float(claimed):.3f} s" + ("" if good else f" instead of {float(lengths[1]):.3f} s")
        yield Check("file", "duration in the header", "equal" if good else "loss", told)


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
        first, last = (pts * frames.time_base for pts in frames.pts.bounds())
        spans.append((first, last + frame))
    if not spans:
        return None
    return min(first for first, _ in spans), max(last for _, last in spans)


def _compare_chapters(before: Sequence[Chapter], after: Sequence[Chapter]) -> Check:
    for number, (left, right) in enumerate(zip(before, after, strict=False), 1):
        tick = max(left.time_base, right.time_base)
        moved = max(abs(left.start - right.start), abs(left.end - right.end)) > tick
        if moved or left.title != right.title:
            told = f"chapter {number} is {_told_chapter(right)} instead of {_told_chapter(left)}"
            return Check("file", "chapters", "loss", told)
    if len(before) == len(after):
        return Check("file", "chapters", "equal", str(len(after)))
    told = f"{len(after)} instead of {len(before)}"
    shared = min(len(before), len(after))
    told += f"; missing: {_told_chapter(before[shared])}" if len(after) < len(before) else ""
    return Check("file", "chapters", "loss", told)


def _told_chapter(chapter: Chapter) -> str:
    title = repr(chapter.title) if chapter.title else "without a title"
    return f"{title} from {float(chapter.start):.3f} to {float(chapter.end):.3f} s"


def _compare_programs(source: MediaIndex, result: MediaIndex) -> Iterator[Check]:
    """Number, name and provider; in another container than MPEG-TS, which has no programs, only a name is missed."""
    before, after = (", ".join(map(str, index.programs)) or "none" for index in (source, result))
    if source.container == result.container and source.programs:
        yield plain("file", "programs", before, after, "loss")
    elif any(program.name for program in source.programs):
        yield Check("file", "programs", "loss", f"none instead of {before}: only MPEG-TS has programs")


def _compare_attachments(before: Sequence[Attachment], after: Sequence[Attachment]) -> Check:
    if list(before) == list(after):
        return Check("file", "attachments", "equal", str(len(after)))
    lost = [attachment.name for attachment in before if attachment not in after]
    return Check("file", "attachments", "loss", f"{len(after)} instead of {len(before)}; not as they were: {lost}")
