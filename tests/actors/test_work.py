"""A row that travels through Arrow comes out as it went in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from actors.geometry import Box, Rect
from actors.routing import Decision, Tier
from actors.work import ROW_SCHEMA, FaceInFrame, KeyFace, ShardWork, Witness, from_table, to_table
from storage.catalogue import Source
from storage.shards import PtsRange, Shard
from storage.store import FileIdentity
from tests.storage.test_shards import probe_of

SHARD = Shard(Source("/videos/a.mp4", "a.mp4", FileIdentity(1, "1")), probe_of(), PtsRange(None, 9000))


def face(pts: int, crop_index: int, decision: Decision = Decision.EXPERT_T) -> FaceInFrame:
    return FaceInFrame(
        pts=pts,
        track=3,
        head_anchor="0:1",
        tail_anchor="8000:1",
        observed=True,
        score=0.5,
        box=Box(0.1, 1 / 3, 70.7, 90.25),
        landmarks=((20.1, 1 / 7), (50, 31), (35, 50), (22, 70), (48, 71.5)),
        sharpness=12.345678901234,
        tier=Tier.SMALL,
        decision=decision,
        reason="because",
        crop=Rect(0, 0, 84, 110),
        strength=0.25,
        crop_index=crop_index,
        witnesses=(-1, 0, 1),
        identity=0.875,
    )


WITNESS = Witness(
    pts=3600,
    decision=Decision.EXPERT_F,
    width=70.6,
    sharpness=33.3,
    crop=Rect(0, 0, 84, 110),
    landmarks=((20.1, 1 / 7), (50, 31), (35, 50), (22, 70), (48, 71.5)),
    reference=(0.6, -0.8),
    crop_index=1,
)


KEY = KeyFace(
    pts=3600,
    decision=Decision.EXPERT_T,
    crop=Rect(0, 8, 88, 112),
    landmarks=((20.1, 1 / 7), (50, 31), (35, 50), (22, 70), (48, 71.5)),
    crop_index=2,
)


def work() -> ShardWork:
    rng = np.random.default_rng(1)
    crops = {number: rng.integers(0, 256, (20 + number, 30, 3), np.uint8) for number in range(3)}
    faces = (replace(face(0, 0), keys=(-1, 0), along=0.25), face(3600, 1), face(7200, -1, Decision.SKIP))
    return ShardWork(SHARD, faces, crops, frames=25, digest="abc", witnesses=(WITNESS,), keys=(KEY,))


def test_a_row_comes_back_as_it_went() -> None:
    (back,) = from_table(to_table([work()]))
    sent = work()
    assert (back.witnesses, back.keys) == (sent.witnesses, sent.keys)
    assert (back.shard, back.faces, back.frames, back.digest, back.error) == (SHARD, sent.faces, 25, "abc", "")
    assert list(back.crops) == list(sent.crops)
    assert all(np.array_equal(back.crops[number], sent.crops[number]) for number in sent.crops)


def test_rows_have_one_schema_full_empty_or_failed() -> None:
    table = to_table([work(), ShardWork(SHARD), work().failed("it broke")])
    assert table.schema == ROW_SCHEMA
    full, empty, failed = from_table(table)
    assert full.faces
    assert (empty.faces, empty.crops, empty.error) == ((), {}, "")
    assert (failed.faces, failed.crops, failed.error, failed.shard) == ((), {}, "it broke", SHARD)


def test_enumerations_come_back_as_themselves() -> None:
    (back,) = from_table(to_table([work()]))
    assert back.faces[0].tier is Tier.SMALL
    assert back.faces[2].decision is Decision.SKIP
    assert isinstance(back.faces[0].box, Box)
    assert back.faces[0].width == back.faces[0].box.width
