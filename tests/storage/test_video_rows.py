"""What is on record of each video is found while its job runs as well as after it."""

from __future__ import annotations

from storage.catalogue import Source
from storage.failures import Failure, commit_failure
from storage.job_record import commit_job_record
from storage.manifest import commit_part, done_video_row, join_tables
from storage.receipts import WorkArea
from storage.store import FileIdentity, Store, join
from storage.video_rows import read_video_rows

SOURCES = [Source(f"/in/{name}", name, FileIdentity(9, "1")) for name in ("a.mp4", "b.mp4", "c.mp4")]
A, B, C = SOURCES

Place = tuple[Store, str]


def begun(place: Place) -> WorkArea:
    """A job of three videos, of which nothing is done."""
    store, out = place
    area = WorkArea(join(out, "_facemill", "0123456789abcdef"))
    commit_job_record(area, area.name, SOURCES, {}, {}, store)
    return area


def finish(area: WorkArea, source: Source, store: Store, **columns: object) -> None:
    commit_part(area, source, "videos", [done_video_row(source, {"output": source.relative_path, **columns})], store)


def told(place: Place) -> dict[str, tuple[str, str]]:
    store, out = place
    rows = read_video_rows(out, store)
    assert len({row["video"] for row in rows}) == len(rows)
    return {row["video"]: (row["status"], row["output"] or row["reason"]) for row in rows}


def test_a_job_that_has_not_ended_tells_of_what_is_done_and_failed(place: Place) -> None:
    area, (store, _) = begun(place), place
    assert told(place) == {}
    finish(area, A, store)
    commit_failure(area, B, Failure(reason="it is empty"), store)
    assert told(place) == {"a.mp4": ("done", "a.mp4"), "b.mp4": ("failed", "it is empty")}


def test_what_a_later_run_has_done_counts_before_its_tables_are_joined(place: Place) -> None:
    area, (store, _) = begun(place), place
    finish(area, A, store, output="a.mp4")
    join_tables(area, SOURCES, {B.key: "the disk is full"}, store)
    assert told(place) == {"a.mp4": ("done", "a.mp4"), "b.mp4": ("failed", "the disk is full")}
    finish(area, A, store, output="a.mp4.mkv")
    finish(area, B, store)
    commit_failure(area, C, Failure(reason="it is empty"), store)
    assert told(place) == {
        "a.mp4": ("done", "a.mp4.mkv"),
        "b.mp4": ("done", "b.mp4"),
        "c.mp4": ("failed", "it is empty"),
    }


def test_of_two_failures_of_a_video_the_later_one_is_told(place: Place) -> None:
    area, (store, _) = begun(place), place
    commit_failure(area, B, Failure(reason="the disk is full"), store)
    join_tables(area, SOURCES, {B.key: "the disk is full"}, store)
    assert told(place) == {"b.mp4": ("failed", "the disk is full")}
    commit_failure(area, B, Failure(reason="its first packet is damaged"), store)
    assert told(place) == {"b.mp4": ("failed", "its first packet is damaged")}


def test_a_result_that_is_there_counts_more_than_a_failure_to_make_it_again(place: Place) -> None:
    area, (store, _) = begun(place), place
    finish(area, A, store)
    commit_failure(area, A, Failure(reason="no more"), store)
    assert told(place) == {"a.mp4": ("done", "a.mp4")}
