"""How strongly a restored face shows: it comes and goes softly, and changes its expert where none shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

from actors.routing import Decision
from actors.tracking import TrackTimeline


@dataclass(frozen=True)
class Stretch:
    """A time in which one decision holds for a track."""

    decision: Decision
    start: int | None
    """pts from which it fades in; None where it is at full strength at once: after a cut, and from the beginning."""
    end: int | None
    """pts at which it has faded out; None where it stays at full strength: before a cut, and to the end."""

    def strength(self, pts: int, fade: Fraction) -> float:
        """Share of the restored face in the result at a frame of this stretch, 0 to 1.

        Args:
            fade: ticks over which it rises and falls, half a cosine's shape.
        """
        since = 1.0 if self.start is None else float((pts - self.start) / fade)
        left = 1.0 if self.end is None else float((self.end - pts) / fade)
        share = min(1.0, max(0.0, min(since, left)))
        return share * share * (3 - 2 * share)


def stretches(timeline: TrackTimeline, decisions: Sequence[Decision]) -> list[Stretch]:
    """For each grid point of a track, the stretch that it lies in.

    Args:
        decisions: one for each grid point.
    """
    found: list[Stretch] = []
    for decision, same in groupby(range(len(decisions)), key=decisions.__getitem__):
        indices = list(same)
        start = timeline.grid_pts[indices[0]] if found else timeline.fades_in
        last = indices[-1] == len(decisions) - 1
        end = timeline.fades_out if last else timeline.grid_pts[indices[-1] + 1]
        found += [Stretch(decision, start, end)] * len(indices)
    return found
