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
from storage.containers import choose_container
from storage.encoding import EncodeSettings, SizeSettings, output_picture
from storage.errors import MediaError, SourceError
from storage.finishing import FinishingOrder, finish_video, is_finished
from storage.manifest import write_faces_part
from storage.reader import read_frames
from storage.receipts import Receipt, WorkArea
from storage.segments import SegmentWriter, file_sha256
from storage.shards import Shard
from storage.store import Store
from tests.media import Audio, Clip, make_video, shards_of

SETTINGS = EncodeSettings(preset="ultrafast", crf=30)
SIZE = SizeSettings(scale=1)
STORE = Store()


@pytest.fixture
def order(tmp_path: Path) -> FinishingOrder:
    """A video whose segments and receipts are all there."""
    shards = shards_of(make_video(tmp_path / "a.mp4", Clip(frames=30, audio=(Audio(seconds=1.2),))), Fraction(1, 2))
    area = WorkArea(str(tmp_path / "out" / "_facemill" / "job"))
    picture = output_picture(shards[0].probe, SIZE)
    return FinishingOrder(
        area=area,
        out=str(tmp_path / "out"),
        shard=shards[0],
        receipts=tuple(_done(shard, area) for shard in shards),
        picture=picture,
        choice=choose_container(shards[0].probe, "a.mp4", "h264"),
        codec="h264",
        variants=("restored",),
        weights=(),
        fidelity=0.5,
    )


def _done(shard: Shard, area: WorkArea) -> Receipt:
    """Commit a shard as the compositor does, its frames as they are."""
    with STORE.staged(area.segment(shard, "restored")) as path:
        with SegmentWriter(path, shard.probe, output_picture(shard.probe, SIZE), SETTINGS) as writer:
            for frame in read_frames(shard, STORE):
                writer.write(frame)
        summary = writer.summary
    STORE.commit_bytes(write_faces_part([]), area.faces(shard))
    receipt = Receipt(
        shard.source.key,
        shard.range,
        frames=summary.frames,
        first_pts=summary.first_pts,
        last_pts=summary.last_pts,
        digest=summary.digest,
        size=summary.size,
        sha256={"restored": summary.sha256},
    )
    STORE.commit_bytes(receipt.to_json().encode(), area.receipt(shard))
    return receipt


def _second_segment(order: FinishingOrder) -> tuple[Path, Path]:
    """The segment and the receipt of the second shard."""
    shard = order.shard.part(order.receipts[1].range.start, order.receipts[1].range.end)
    return Path(order.area.segment(shard, "restored")), Path(order.area.receipt(shard))


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
    return [path for path in Path(order.out).rglob("*") if path.is_file() and "/work/" not in str(path)]


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
    assert not is_finished(order.area, order.out, source, STORE)
    for receipt in order.receipts:
        _done(order.shard.part(receipt.range.start, receipt.range.end), order.area)
    finish_video(order, STORE)
    assert result.stat().st_size == len(whole)
    assert is_finished(order.area, order.out, source, STORE)


def test_a_segment_that_storage_gives_back_changed_is_never_joined(order: FinishingOrder) -> None:
    """And it is forgotten, so that the next run makes it anew."""
    segment, receipt = _second_segment(order)
    _damage(segment)
    with pytest.raises(MediaError, match=r"other bytes than were written.*Run the same command again"):
        finish_video(order, STORE)
    assert _results(order) == []
    assert not receipt.exists()


def test_a_segment_that_was_encoded_wrong_is_joined_but_not_committed(order: FinishingOrder) -> None:
    """Its bytes are those of its receipt: only decoding the joined file shows the fault."""
    segment, _ = _second_segment(order)
    _damage(segment)
    believed = replace(order.receipts[1], sha256={"restored": file_sha256(segment)})
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
