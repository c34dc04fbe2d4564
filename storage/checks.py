"""What a comparison of a result with its source is told in: a check for each thing that was looked at.

A difference is a `fault` when no container excuses it: frames, times, packets, turning and shape of the picture, or a
result that does not decode. It is a `loss` when a container may be unable to hold the thing: tags, titles, chapters. A
fault keeps a result from being committed; a loss is put on record in the manifest, and is allowed from then on.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from storage.media_index import MediaIndex
from storage.packet_log import NO_TIME
from storage.probe import VideoProbe

State = Literal["equal", "allowed", "loss", "fault"]


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


def plain(subject: str, what: str, before: Any, after: Any, otherwise: State) -> Check:
    """A check of two values for equality."""
    if before == after:
        return Check(subject, what, "equal", str(after))
    return Check(subject, what, otherwise, f"{after} instead of {before}")


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


def converted(subject: str, what: str, of: Fraction, to: Fraction, compared: str = "every one") -> Check:
    """Times on another clock: equal where every tick of the old one is a whole number of ticks of the new one.

    Args:
        compared: which were looked at.
    """
    clocks = f"the result's clock ticks every {to} s, the source's every {of} s"
    if (of / to).denominator == 1:
        return Check(subject, what, "equal", f"{compared} exactly: {clocks}")
    return Check(subject, what, "allowed", f"{compared} at the nearest tick: {clocks}")
