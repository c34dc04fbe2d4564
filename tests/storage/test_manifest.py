"""The record: tracks numbered through a video's shards, tables of one schema, rows that come back as written."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.catalogue import Source
from storage.failures import Failure, commit_failure
from storage.manifest import (
    FACES_SCHEMA,
    SHARDS_SCHEMA,
    VIDEOS_SCHEMA,
    commit_faces,
    commit_part,
    done_video_row,
    join_tables,
    read_video_row,
    shard_row,
    stitched_faces,
    tables_are_joined,
    write_faces_part,
)
from storage.receipts import Receipt, WorkArea, read_receipts
from storage.shards import PtsRange, Shard
from storage.store import FileIdentity, Store
from tests.storage.test_shards import probe_of


def face(pts: int, track: int, head: str = "", tail: str = "") -> dict[str, object]:
    return {
        **dict.fromkeys(FACES_SCHEMA.names),
        "video": "a.mp4",
        "pts": pts,
        "track": track,
        "head_anchor": head,
        "tail_anchor": tail,
    }


def tracks_of(*parts: list[dict[str, object]]) -> list[int]:
    parted = stitched_faces(write_faces_part(part) for part in parts)
    table = pa.concat_tables([FACES_SCHEMA.empty_table(), *parted])
    assert table.schema == FACES_SCHEMA
    return list(table["track"].to_pylist())


def test_a_face_keeps_its_number_over_shards() -> None:
    first = [face(0, 0, tail="8:0"), face(0, 1, tail="8:1")]
    second = [face(10, 0, head="8:1", tail="18:0"), face(10, 1, head="8:0", tail="18:1")]
    third = [face(20, 0, head="18:0"), face(20, 1, head="18:1")]
    assert tracks_of(first, second, third) == [0, 1, 1, 0, 1, 0]


def test_a_new_face_gets_a_new_number() -> None:
    assert tracks_of([face(0, 0, tail="8:0")], [face(10, 0, head="8:0"), face(10, 1)], [face(20, 0)]) == [0, 0, 1, 2]


def test_a_face_that_no_frame_of_a_shard_shows_is_another_after_it() -> None:
    assert tracks_of([face(0, 0, tail="8:0")], [], [face(20, 0, head="18:0")]) == [0, 1]


def test_no_faces_make_an_empty_table() -> None:
    assert tracks_of() == []
    assert tracks_of([], []) == []


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), min_size=1, max_size=5), st.integers(3, 25))
def test_stitching_gives_the_same_faces_at_any_shard_length(lives: list[tuple[int, int]], length: int) -> None:
    """Faces that live [start, start + long) in a video of 100 frames, cut every `length` frames."""
    parts, truth = [], []
    for start in range(0, 100, length):
        end = min(100, start + length)
        seen = [life for life, (born, long) in enumerate(lives) if born < end and born + long > start]
        part = []
        for pts in range(start, end):
            for local, life in enumerate(seen):
                born, dead = lives[life][0], sum(lives[life])
                if born <= pts < dead:
                    head = f"{start - 1}:{life}" if born < start else ""
                    part.append(face(pts, local, head, f"{min(end, dead) - 1}:{life}"))
                    truth.append(life)
        parts.append(part)
    numbers = tracks_of(*parts)
    assert len(set(zip(truth, numbers, strict=True))) == len(set(truth)) == len(set(numbers))
    assert sorted(set(numbers)) == list(range(len(set(numbers))))


@pytest.fixture
def area(tmp_path_factory: pytest.TempPathFactory) -> WorkArea:
    return WorkArea(str(tmp_path_factory.mktemp("out") / "_facemill" / "job"))


SOURCE = Source("/videos/a.mp4", "deep/a.mp4", FileIdentity(123, "7"))
RECEIPT = Receipt(
    SOURCE.key,
    PtsRange(None, 90),
    25,
    0,
    86,
    "abc",
    {"skip": 3, "expert_t": 2},
    {"tiny": 3, "small": 2},
    2,
    1,
    0,
    ("demuxing stopped early",),
    999,
    1.5,
)


def test_a_video_row_comes_back_as_written(area: WorkArea) -> None:
    assert read_video_row(area, SOURCE, Store()) is None
    row = done_video_row(
        SOURCE,
        {
            "output": "deep/a.mp4",
            "frames": 25,
            "streams_left_out": ["3:data:"],
            "weights": [("expert_t_faithful", "0" * 64)],
        },
    )
    commit_part(area, SOURCE, "videos", [row], Store())
    found = read_video_row(area, SOURCE, Store())
    assert found is not None
    assert {name: found[name] for name in row} == row
    assert (found["status"], found["source"], found["source_size"]) == ("done", "/videos/a.mp4", 123)


def test_a_receipt_is_a_shard_row(area: WorkArea) -> None:
    shard = Shard(SOURCE, probe_of(), RECEIPT.range)
    row = shard_row(shard, RECEIPT)
    assert set(row) == set(SHARDS_SCHEMA.names)
    assert (row["faces_skip"], row["faces_expert_t"], row["faces_resize"]) == (3, 2, 0)
    assert pa.Table.from_pylist([row], schema=SHARDS_SCHEMA).to_pylist() == [row]


def test_receipts_come_back_from_storage_and_are_small(area: WorkArea) -> None:
    shard = Shard(SOURCE, probe_of(), RECEIPT.range)
    assert list(read_receipts(area, [SOURCE], Store())) == []
    Store().commit_bytes(RECEIPT.to_json().encode(), area.receipt(shard))
    Store().commit_bytes(b"no receipt", area.segment(shard, "restored", "ab"))
    assert list(read_receipts(area, [SOURCE], Store())) == [RECEIPT]
    assert len(RECEIPT.to_json()) < 1024


def test_parts_of_all_videos_join_into_tables(area: WorkArea) -> None:
    sources = [Source(f"/videos/{name}", name, FileIdentity(1, "1")) for name in ("a.mp4", "b.mp4", "c.mp4")]
    for source in sources[:2]:
        assert commit_faces(area, source, stitched_faces([write_faces_part([face(0, 0), face(1, 0)])]), Store()) == (
            2,
            1,
        )
        commit_part(area, source, "shards", [shard_row(Shard(source, probe_of(), RECEIPT.range), RECEIPT)], Store())
        commit_part(area, source, "videos", [done_video_row(source, {"weights": []})], Store())
    join_tables(area, sources, {sources[2].key: "empty", sources[0].key: "once"}, Store())
    for name, schema, rows in (("faces", FACES_SCHEMA, 4), ("shards", SHARDS_SCHEMA, 2), ("videos", VIDEOS_SCHEMA, 3)):
        table = pq.read_table(area.table(name))
        assert table.schema.equals(schema)
        assert table.num_rows == rows
    assert pq.read_table(area.table("videos"))["status"].to_pylist() == ["done", "done", "failed"]
    assert pq.read_table(area.table("videos"))["reason"].to_pylist() == ["", "", "empty"]


def test_a_part_that_lacks_a_column_joins_with_nulls(area: WorkArea) -> None:
    """A job may be finished by a later facemill than it was begun with."""
    source = Source("/in/a.mp4", "a.mp4", FileIdentity(1, "1"))
    commit_part(area, source, "videos", [done_video_row(source, {"damage": ["a lot"]})], Store())
    part = area.parts(source, "videos")
    pq.write_table(pq.read_table(part).drop_columns(["sha256", "verified"]), part)
    join_tables(area, [source], {}, Store())
    table = pq.read_table(area.table("videos"))
    assert table.schema.equals(VIDEOS_SCHEMA)
    assert table["damage"].to_pylist() == [["a lot"]]
    assert table["sha256"].to_pylist() == [None]


def test_tables_are_joined_until_there_is_more_to_join(area: WorkArea) -> None:
    """A run may be killed between its last video and its tables; the next one has nothing else to do."""
    commit_part(area, SOURCE, "videos", [done_video_row(SOURCE, {})], Store())
    assert not tables_are_joined(area, Store())
    os.utime(area.parts(SOURCE, "videos"), (1, 1))
    join_tables(area, [SOURCE], {}, Store())
    assert tables_are_joined(area, Store())
    commit_failure(area, SOURCE, Failure(reason="it is empty"), Store())
    os.utime(area.failure(SOURCE), (2e9, 2e9))
    assert not tables_are_joined(area, Store())
