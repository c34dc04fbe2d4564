"""Finishing a video: what is damaged on the way from the encoder to the result is found, and nothing appears then."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest

from storage.assembly import AssemblyReport, assemble_video
from storage.errors import MediaError, SourceError
from storage.finishing import FinishingOrder, finish_video, finished_row
from storage.receipts import Receipt, WorkArea
from storage.segments import file_sha256
from storage.shards import Shard
from storage.store import Store
from tests.media import Audio, Clip, make_video, shards_of
from tests.storage.shard_work import commit_shard, finishing_order

STORE = Store()


@pytest.fixture
def order(tmp_path: Path) -> FinishingOrder:
    """A video whose segments and receipts are all there."""
    video = make_video(tmp_path / "a.mp4", Clip(frames=30, audio=(Audio(seconds=1.2),)))
    shards = shards_of(video, Fraction(1, 2))
    area = WorkArea(str(tmp_path / "out" / "_facemill" / "job"))
    return finishing_order(shards, [_done(shard, area) for shard in shards], area, str(tmp_path / "out"))


def _done(shard: Shard, area: WorkArea) -> Receipt:
    return commit_shard(shard, area, STORE)


def _second_segment(order: FinishingOrder) -> tuple[Path, Path]:
    """The segment and the receipt of the second shard."""
    receipt = order.receipts[1]
    shard = order.shard.part(receipt.range.start, receipt.range.end)
    return Path(order.area.segment(shard, "restored", receipt.sha256["restored"])), Path(order.area.receipt(shard))


def _damage(segment: Path) -> None:
    """Overwrite a packet in the middle."""
    with av.open(str(segment)) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
    packet = packets[len(packets) // 2]
    assert packet.pos is not None
    content = bytearray(segment.read_bytes())
    content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    segment.write_bytes(content)


def _results(order: FinishingOrder) -> list[Path]:
    """Everything but working objects, and the note of where results will be."""
    files = [path for path in Path(order.out).rglob("*") if path.is_file()]
    return [path for path in files if path.parent.name != "announced" and "/work/" not in str(path)]


def test_the_record_says_what_was_verified(order: FinishingOrder) -> None:
    assert finish_video(order, STORE) == []
    (path,) = (Path(order.area.url) / "parts" / "videos").iterdir()
    (row,) = pq.read_table(path).to_pylist()
    assert "picture: frames: 30 frames" in row["verified"]
    assert "picture: decodes from start to end: 30 packets gave 30 frames" in row["verified"]
    assert any(line.startswith("stream 1 (audio, aac): packets: ") for line in row["verified"])
    assert row["allowed"] == []


def test_the_record_has_the_hash_of_the_file_that_was_verified(order: FinishingOrder) -> None:
    finish_video(order, STORE)
    (path,) = (Path(order.area.url) / "parts" / "videos").iterdir()
    (row,) = pq.read_table(path).to_pylist()
    assert row["sha256"] == hashlib.sha256((Path(order.out) / "a.mp4").read_bytes()).hexdigest()


@pytest.mark.parametrize("kept_bytes", [None, 1000], ids=["lost", "cut short"])
def test_a_result_that_is_lost_or_cut_short_after_its_record_is_written_anew(
    order: FinishingOrder, kept_bytes: int | None
) -> None:
    finish_video(order, STORE)
    result = Path(order.out) / "a.mp4"
    whole = result.read_bytes()
    result.unlink()
    if kept_bytes is not None:
        result.write_bytes(whole[:kept_bytes])
    source = order.shard.source
    assert finished_row(order.area, order.out, source, STORE) is None
    for receipt in order.receipts:
        _done(order.shard.part(receipt.range.start, receipt.range.end), order.area)
    finish_video(order, STORE)
    assert result.stat().st_size == len(whole)
    assert finished_row(order.area, order.out, source, STORE) is not None


def test_a_segment_that_storage_gives_back_changed_is_never_joined(order: FinishingOrder) -> None:
    """And it is forgotten, so that the next run makes it anew."""
    segment, receipt = _second_segment(order)
    _damage(segment)
    with pytest.raises(MediaError, match=r"other bytes than were written.*Run the same command again"):
        finish_video(order, STORE)
    assert _results(order) == []
    assert not receipt.exists()
    assert not segment.exists()
    shard = order.shard.part(order.receipts[1].range.start, order.receipts[1].range.end)
    receipts = (order.receipts[0], _done(shard, order.area), *order.receipts[2:])
    finish_video(replace(order, receipts=receipts), STORE)
    assert (Path(order.out) / "a.mp4").exists()


@pytest.mark.parametrize("what", ["restored", "faces"])
def test_a_shard_that_lost_an_object_is_made_anew(order: FinishingOrder, what: str) -> None:
    shard = order.shard.part(order.receipts[1].range.start, order.receipts[1].range.end)
    (lost,) = Path(order.area.video(shard.source.key)).glob(f"{shard.range}.{what}.*")
    lost.unlink()
    with pytest.raises(MediaError, match="it is gone"):
        finish_video(order, STORE)
    assert not Path(order.area.receipt(shard)).exists()
    receipts = (order.receipts[0], _done(shard, order.area), *order.receipts[2:])
    finish_video(replace(order, receipts=receipts), STORE)
    assert finished_row(order.area, order.out, shard.source, STORE) is not None


def test_a_segment_that_was_encoded_wrong_is_joined_but_not_committed(order: FinishingOrder) -> None:
    """Its bytes are those of its receipt: only decoding the joined file shows the fault."""
    segment, _ = _second_segment(order)
    _damage(segment)
    believed = replace(order.receipts[1], sha256={"restored": file_sha256(segment)})
    shard = order.shard.part(believed.range.start, believed.range.end)
    segment.rename(order.area.segment(shard, "restored", believed.sha256["restored"]))
    wrong = replace(order, receipts=(order.receipts[0], believed, *order.receipts[2:]))
    with pytest.raises(MediaError, match="was not kept: picture: "):
        finish_video(wrong, STORE)
    assert _results(order) == []


def test_a_segment_that_lacks_a_frame_is_not_committed(order: FinishingOrder) -> None:
    """The receipt says how many there are."""
    short = replace(order.receipts[1], frames=order.receipts[1].frames + 1)
    wrong = replace(order, receipts=(order.receipts[0], short, *order.receipts[2:]))
    with pytest.raises(MediaError, match="frames"):
        finish_video(wrong, STORE)
    assert _results(order) == []


def test_frames_that_no_shard_gave_are_no_damage(order: FinishingOrder) -> None:
    """The receipts agree with the segments, and nothing was refused by the decoder: still the source has them."""
    lost = replace(order.receipts[1], frames=0, first_pts=None, last_pts=None)
    wrong = replace(order, receipts=(order.receipts[0], lost, *order.receipts[2:]))
    with pytest.raises(MediaError, match="read in one go it has 30"):
        finish_video(wrong, STORE)
    assert _results(order) == []


@pytest.mark.parametrize("while_joining", [False, True], ids=["before joining", "while it is joined"])
def test_a_source_that_is_still_being_written_never_becomes_a_result(
    order: FinishingOrder, while_joining: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_on_recording() -> None:
        with Path(order.shard.source.url).open("ab") as source:
            source.write(b"\0\0\0\x08free")

    def joined_meanwhile(*given: object, **named: object) -> AssemblyReport:
        report = assemble_video(*given, **named)  # type: ignore[arg-type]
        go_on_recording()
        return report

    if while_joining:
        monkeypatch.setattr("storage.finishing.assemble_video", joined_meanwhile)
    else:
        go_on_recording()
    with pytest.raises(SourceError, match="changed while the job ran"):
        finish_video(order, STORE)
    assert _results(order) == []
