"""Checks of the picture: its frames and their times, its size and shape, and what it says about itself."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from storage.checks import Check, State, Terms, converted, off_the_tick
from storage.colour_names import colour_name
from storage.encoding import RGB, UNSPECIFIED, lost_in_format, matrix_code
from storage.media_index import FrameIndex, MediaIndex
from storage.picture_tags import FieldOrder, PictureTags
from storage.probe import VideoProbe
from storage.words import counted

_ASPECT_TOLERANCE = Fraction(1, 1000)
"""Share of the shape: aspect ratios are stored with few digits."""


def compare_frames(expected: FrameIndex, result: MediaIndex) -> Iterator[Check]:
    """How many frames there are, when each is shown, and that all of them decode."""
    found = result.frames
    assert found is not None
    same = len(found.pts) == len(expected.pts)
    told = counted(len(found.pts), "frame") + ("" if same else f" instead of {len(expected.pts)}")
    yield Check("picture", "frames", "equal" if same else "fault", told)
    yield _compare_frame_times(expected, found)
    damaged = found.not_decoded + found.without_pts + abs(len(result.picture.packets) - len(found.pts))
    yield Check(
        "picture",
        "decodes from start to end",
        "fault" if damaged else "equal",
        f"{counted(len(result.picture.packets), 'packet')} gave {counted(len(found.pts), 'frame')}"
        + (f"; damaged: {found.not_decoded}" if found.not_decoded else "")
        + (f"; without a pts: {found.without_pts}" if found.without_pts else ""),
    )


def _compare_frame_times(expected: FrameIndex, found: FrameIndex) -> Check:
    """The lists of pts; a difference is told by what it looks like at its first place."""
    at = _first_difference(expected, found)
    if at is not None:
        return Check("picture", "timestamps", "fault", _first_wrong_frame(expected, found, at))
    if expected.time_base == found.time_base:
        return Check("picture", "timestamps", "equal", f"every pts to the tick of {expected.time_base} s")
    return converted("picture", "timestamps", expected.time_base, found.time_base)


def _first_difference(expected: FrameIndex, found: FrameIndex) -> int | None:
    """Number of the first frame that is not where it should be, or is on one side only."""
    first = 0
    for pair in zip(expected.pts.chunks(), found.pts.chunks(), strict=False):
        left, right = (chunk[: min(map(len, pair))] for chunk in pair)
        wrong = off_the_tick(left, expected.time_base, right, found.time_base)
        if wrong.any():
            return first + int(wrong.argmax())
        first += len(left)
    return None if len(expected.pts) == len(found.pts) else first


def _first_wrong_frame(expected: FrameIndex, found: FrameIndex, at: int) -> str:
    def on_clock(pts: int) -> Fraction:
        return pts * expected.time_base / found.time_base

    def at_second(pts: Fraction | int, time_base: Fraction) -> str:
        return f"{float(pts * time_base):.6f} s"

    wanted = on_clock(expected.pts[at]) if at < len(expected.pts) else None
    got = found.pts[at] if at < len(found.pts) else None
    if got is None:
        goes_on = at_second(expected.pts[at], expected.time_base)
        return f"the result ends after {counted(at, 'frame')}; the source goes on at {goes_on}"
    if wanted is None:
        goes_on = at_second(got, found.time_base)
        return f"the source ends after {counted(at, 'frame')}; the result goes on at {goes_on}"
    following = on_clock(expected.pts[at + 1]) if at + 1 < len(expected.pts) else None
    if following is not None and len(found.pts) < len(expected.pts) and abs(got - following) <= Fraction(1, 2):
        return f"frame {at}, at {at_second(wanted, found.time_base)} (pts {expected.pts[at]} of the source), is missing"
    if len(found.pts) > len(expected.pts) and got < wanted:
        return f"frame {at}, at {at_second(got, found.time_base)}, is one that the source does not have"
    moved = float((got - wanted) * found.time_base)
    instead = f"{at_second(got, found.time_base)} instead of {at_second(wanted, found.time_base)}"
    return f"frame {at} is at {instead}, {1000 * moved:+.3f} ms (pts {got}, of the source {expected.pts[at]})"


def compare_picture(source: VideoProbe, result: VideoProbe, terms: Terms) -> Iterator[Check]:
    """How the picture is shown: turned, shaped, coloured."""
    turned: State = "equal" if source.rotation == result.rotation else "fault"
    told = f"{result.rotation} degrees" + (f" instead of {source.rotation}" if turned == "fault" else "")
    yield Check("picture", "rotation", turned, told)
    if terms.same_shape:
        yield _compare_shape(source, result)
        yield from _compare_picture_tags(source, result)
    yield from _compare_colours(source, result)


def _compare_colours(source: VideoProbe, result: VideoProbe) -> Iterator[Check]:
    for what, before, after in (
        ("colour range", source.color_range, result.color_range),
        ("colour primaries", source.color_primaries, result.color_primaries),
        ("transfer characteristics", source.color_trc, result.color_trc),
        ("colour matrix", source.colorspace, result.colorspace),
    ):
        if before == after:
            yield Check("picture", what, "equal", colour_name(what, after))
            continue
        why = _why_another_matrix(source, after) if what == "colour matrix" else ""
        told = f"{colour_name(what, after)} instead of {colour_name(what, before)}"
        yield Check("picture", what, "allowed" if why else "loss", told + (f": {why}" if why else ""))


def _why_another_matrix(source: VideoProbe, found: int) -> str:
    """Why a result rightly says another matrix than its source; empty when it does not."""
    if source.colorspace == RGB:
        return "RGB was encoded as YUV"
    if source.colorspace == UNSPECIFIED and found == matrix_code(source):
        return "what players take an untagged picture of the source's size for"
    return ""


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


def _compare_picture_tags(source: VideoProbe, result: VideoProbe) -> Iterator[Check]:
    """Field order, HDR metadata, cropping and the like, and what the format of the samples has no place for."""
    across, down = Fraction(result.width, source.width), Fraction(result.height, source.height)
    expected = source.tags.scaled(across, down)
    unlike = expected.unlike(result.tags)
    for name in unlike:
        yield _told_otherwise(name, expected, result.tags)
    if not unlike:
        yield Check("picture", "field order, HDR metadata, orientation, cropping, 3-D", "equal", "as the source's")
    for name in (*source.tags.left_out, *lost_in_format(source.pix_fmt, result.pix_fmt)):
        yield Check("picture", name, "loss", "no result can hold it")


def _told_otherwise(name: str, wanted: PictureTags, found: PictureTags) -> Check:
    if name == "field order":
        return other_field_order(wanted.field_order, found.field_order)
    return Check("picture", name, "loss", "the result says it otherwise or not at all")


def other_field_order(wanted: FieldOrder, found: FieldOrder) -> Check:
    """The check of a result whose frames have another field order than the source's."""
    return Check("picture", "field order", "loss", f"{found} instead of {wanted}")
