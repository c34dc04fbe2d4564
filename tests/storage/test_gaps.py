"""Where a video has no frame for long, from one walk over its packets."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

from storage.gaps import GAP_SECONDS, Presence, gaps_between
from storage.probe import probe_video
from storage.store import Store
from tests.media import Clip, make_video

MILLISECOND = Fraction(1, 1000)


def test_only_long_stretches_are_gaps_in_whatever_order_packets_come() -> None:
    stamps = [*range(0, 30_000, 40), *range(35_000, 60_000, 40), *range(4_000_000, 4_010_000, 40)]
    random.Random(0).shuffle(stamps)
    presence = Presence(MILLISECOND)
    for pts in stamps:
        presence.take(pts)
    (gap,) = gaps_between(presence.stretches(500), MILLISECOND)
    assert gap == (60_500, 4_000_500)


def test_no_frame_lies_in_a_gap_of_a_slow_video() -> None:
    presence = Presence(MILLISECOND)
    stamps = range(0, 600_000, 1000 * GAP_SECONDS + 2000)
    for pts in stamps:
        presence.take(pts)
    gaps = gaps_between(presence.stretches(0), MILLISECOND)
    assert gaps
    assert not any(start <= pts < end for start, end in gaps for pts in stamps)


def test_a_camera_that_slept_is_known_to_have(tmp_path: Path) -> None:
    awake = [*range(50), *range(50 + 25 * 3600, 100 + 25 * 3600)]
    url = make_video(tmp_path / "triggered.mkv", Clip(pts=awake))
    probe = probe_video(str(url), Store())
    ((start, end),) = probe.timeline.gaps
    assert float((end - start) * probe.time_base) > 3595
