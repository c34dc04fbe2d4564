"""The ledger: receipts in any order, videos decided exactly once."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from flows.ledger import Ledger, VideoPlan
from storage.catalogue import Source
from storage.containers import ContainerChoice
from storage.encoding import OutputPicture
from storage.probe import VideoProbe
from storage.receipts import Receipt
from storage.shards import PtsRange, plan_shards
from storage.store import FileIdentity

PROBE = VideoProbe(
    container="matroska,webm",
    codec="h264",
    stream_index=0,
    width=64,
    height=48,
    pix_fmt="yuv420p",
    time_base=Fraction(1, 1000),
    frame_ticks=Fraction(40),
    first_pts=0,
    duration=10_000,
    rotation=0,
    sample_aspect_ratio=Fraction(1),
    color_range=1,
    colorspace=2,
    color_primaries=2,
    color_trc=2,
    other_streams=(),
)


def plan(name: str) -> VideoPlan:
    source = Source(f"/in/{name}", name, FileIdentity(1, "1"))
    shards = tuple(plan_shards(source, PROBE, Fraction(2)))
    return VideoPlan(shards, OutputPicture(64, 48, "yuv420p", Fraction(1)), ContainerChoice("matroska", name, (), ""))


def receipts(video: VideoPlan) -> list[Receipt]:
    return [Receipt(video.key, shard.range, frames=50) for shard in video.shards]


@given(st.permutations(range(5)))
@settings(deadline=None, derandomize=True, max_examples=30)
def test_a_video_is_complete_with_its_last_receipt_in_any_order(order: list[int]) -> None:
    video = plan("a.mkv")
    ledger = Ledger([video])
    decided = [ledger.add(receipts(video)[at]) for at in order]
    assert decided == [None] * 4 + [video]
    complete = ledger.complete(video.key)
    assert complete is not None
    assert [receipt.range for receipt in complete] == [shard.range for shard in video.shards]


def test_a_receipt_that_comes_twice_decides_nothing_twice() -> None:
    video = plan("a.mkv")
    ledger = Ledger([video])
    decided = [ledger.add(receipt) for receipt in receipts(video) * 2]
    assert [each for each in decided if each is not None] == [video]


def test_parts_of_a_shard_that_was_cut_complete_it() -> None:
    video = plan("a.mkv")
    ledger = Ledger([video])
    for shard in video.shards[1:]:
        assert ledger.add(Receipt(video.key, shard.range)) is None
    first = video.shards[0].range
    assert ledger.add(Receipt(video.key, PtsRange(first.start, 700))) is None
    assert ledger.missing(video.key) == [video.shards[0]]
    assert ledger.add(Receipt(video.key, PtsRange(700, first.end))) == video


def test_a_failed_shard_fails_its_video_once_and_no_other() -> None:
    good, bad = plan("good.mkv"), plan("bad.mkv")
    ledger = Ledger([good, bad])
    assert ledger.add(Receipt(bad.key, bad.shards[1].range, error="decoder gave up")) == bad
    assert ledger.add(Receipt(bad.key, bad.shards[2].range, error="again")) is None
    assert ledger.failure(bad.key) == "decoder gave up"
    assert ledger.undecided() == [good]
    assert [each for each in map(ledger.add, receipts(good)) if each] == [good]


def test_only_shards_without_receipts_are_missing() -> None:
    video = plan("a.mkv")
    ledger = Ledger([video])
    ledger.add(receipts(video)[3])
    assert ledger.missing(video.key) == [shard for at, shard in enumerate(video.shards) if at != 3]


def test_expected_frames_follow_from_the_header() -> None:
    video = plan("a.mkv")
    assert video.expected_frames(len(video.shards)) == 250
    assert video.expected_frames(2) == 100
