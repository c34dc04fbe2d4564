"""Cutting a video into shards: half-open pts ranges that tile all of time, so that every frame has one owner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from storage.catalogue import Source
from storage.probe import VideoProbe


@dataclass(frozen=True, order=True)
class PtsRange:
    """Half-open range [start, end) in ticks of the video's time base; None is open on that side."""

    start: int | None
    end: int | None

    def __post_init__(self) -> None:
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"pts range [{self.start}, {self.end}) is empty or reversed")

    def __contains__(self, pts: int) -> bool:
        return (self.start is None or pts >= self.start) and (self.end is None or pts < self.end)

    def __str__(self) -> str:
        """Name of the range in object names: ticks, `begin` or `end` for an open side."""
        return f"{'begin' if self.start is None else self.start}_{'end' if self.end is None else self.end}"

    @classmethod
    def named(cls, name: str) -> PtsRange:
        """The range that an object name begins with, up to its first dot.

        Raises:
            ValueError: it does not begin with one.
        """
        start, _, end = name.partition(".")[0].partition("_")
        return cls(None if start == "begin" else int(start), None if end == "end" else int(end))


@dataclass(frozen=True)
class Shard:
    """A range of one video: the unit of work, and of one encoded segment."""

    source: Source
    probe: VideoProbe
    range: PtsRange
    """The frames this shard owns."""

    def part(self, start: int | None, end: int | None) -> Shard:
        """The same shard narrowed to [start, end), for a shard that is cut because it is crowded."""
        return replace(self, range=PtsRange(start, end))


def plan_shards(source: Source, probe: VideoProbe, shard_seconds: Fraction) -> list[Shard]:
    """Tile a video's time with shards of about `shard_seconds`.

    The first range is open at its start and the last at its end, so no frame is lost when the header is wrong about
    either. The plan needs the probe only. Where no frame is, one shard is as long as that stretch.
    """
    step = max(1, round(shard_seconds / probe.time_base))
    count = max(1, round(Fraction(probe.duration or 0, step)))
    cuts = list(_cuts_where_frames_are(probe, step, count))
    starts: list[int | None] = [None, *cuts]
    ends: list[int | None] = [*cuts, None]
    return [
        Shard(source, _for_range(probe, start, end), PtsRange(start, end))
        for start, end in zip(starts, ends, strict=True)
    ]


def _cuts_where_frames_are(probe: VideoProbe, step: int, count: int) -> Iterator[int]:
    """Of the cuts at every `step` ticks, those with a frame on either side of them before the next cut.

    Without a walk over the others: damage puts frames a hundred hours apart.
    """
    if not probe.occupied:
        yield from (probe.first_pts + step * i for i in range(1, count))
        return
    last = 0
    for start, end in probe.occupied:
        first = max(last + 1, (start - probe.first_pts) // step)
        last = min(count - 1, (end - 1 - probe.first_pts) // step + 1)
        yield from (probe.first_pts + step * i for i in range(first, last + 1))
        last = max(last, first - 1)


def _for_range(probe: VideoProbe, start: int | None, end: int | None) -> VideoProbe:
    return replace(probe, timeline=probe.timeline.near(start, end), occupied=())


def chain_covering(wanted: PtsRange, available: Iterable[PtsRange]) -> list[PtsRange] | None:
    """The ranges, in order, that tile `wanted` exactly; None when they do not (yet).

    Where several begin alike, every one is tried, the shortest first. Linear in the number of ranges once they are
    sorted.
    """
    followers: dict[int | None, list[PtsRange]] = {}
    for part in sorted(available, key=_by_end):
        followers.setdefault(part.start, []).append(part)
    chain: list[PtsRange] = []
    branches = [iter(followers.pop(wanted.start, ()))]
    while branches:
        step = next(branches[-1], None)
        if step is None:  # nothing goes on from here: back to the part before, whose start is never tried again
            branches.pop()
            del chain[-1:]
            continue
        chain.append(step)
        if step.end == wanted.end:
            return chain
        branches.append(iter(followers.pop(step.end, ()) if step.end is not None else ()))
    return None


def _by_end(part: PtsRange) -> tuple[bool, int]:
    return (part.end is None, part.end or 0)
