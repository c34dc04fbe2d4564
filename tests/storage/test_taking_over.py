"""What a job of the same settings has done is not done again by another, as long as its result stands."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from storage.catalogue import Source
from storage.job_record import commit_job_record
from storage.manifest import commit_part, done_video_row, join_tables, read_video_row
from storage.receipts import WorkArea
from storage.redoing import mark_again
from storage.store import FileIdentity, Store, join
from storage.taking_over import DoneElsewhere, done_elsewhere, take_over

SOURCES = [Source(f"/in/{name}", name, FileIdentity(9, "1")) for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4")]
A, B, C, D = SOURCES
SETTINGS = {"shard_seconds": 4.0, "variants": ["restored"]}
WEIGHTS = {"expert_t": "ab" * 32}

Place = tuple[Store, str]


def job(place: Place, name: str, settings: dict[str, Any] = SETTINGS, weights: dict[str, str] = WEIGHTS) -> WorkArea:
    store, out = place
    area = WorkArea(join(out, "_facemill", name))
    commit_job_record(area, name, SOURCES, settings, weights, store)
    return area


def finish(area: WorkArea, source: Source, place: Place) -> None:
    store, out = place
    store.commit_bytes(b"video", join(out, source.relative_path))
    for table in ("faces", "shards"):
        commit_part(area, source, table, [{"video": source.relative_path}], store)
    row = done_video_row(source, {"output": source.relative_path, "output_size": 5})
    commit_part(area, source, "videos", [row], store)


def found_by(area: WorkArea, place: Place, **other: Any) -> list[DoneElsewhere]:
    store, out = place
    asked = {"settings": SETTINGS, "weights": WEIGHTS, **other}
    return done_elsewhere(area, out, SOURCES, asked["settings"], asked["weights"], store)


def test_what_is_done_elsewhere_is_taken_over_whole(place: Place) -> None:
    store, _ = place
    earlier, now = job(place, "1" * 16), WorkArea(join(place[1], "_facemill", "2" * 16))
    for source in (A, B, C):
        finish(earlier, source, place)
    mark_again(earlier, B, store)
    store.remove([join(place[1], "c.mp4")])
    found = found_by(now, place)
    assert found == [DoneElsewhere(A, earlier)]
    assert not store.list_files(now.url)
    take_over(now, found, store)
    assert read_video_row(now, A, store) == read_video_row(earlier, A, store)
    join_tables(now, [A], {}, store)
    for table in ("faces", "shards", "videos"):
        assert store.read_bytes(now.parts(A, table)) == store.read_bytes(earlier.parts(A, table))


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_run_that_is_killed_on_the_way_has_taken_nothing(
    step: int, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, out = place
    earlier, now = job(place, "1" * 16), WorkArea(join(out, "_facemill", "2" * 16))
    finish(earlier, A, place)
    found, written = found_by(now, place), iter(range(3))
    staged = Store.staged

    def killed_before(self: Store, url: str) -> AbstractContextManager[Path]:
        if next(written) == step:
            raise KeyboardInterrupt
        return staged(self, url)

    monkeypatch.setattr(Store, "staged", killed_before)
    with pytest.raises(KeyboardInterrupt):
        take_over(now, found, store)
    monkeypatch.undo()
    assert len(store.list_files(now.all_parts(""))) == step
    assert read_video_row(now, A, store) is None
    assert take_over(now, found, store) == 1
    assert read_video_row(now, A, store) is not None


def test_what_the_other_job_gives_up_meanwhile_is_not_taken(place: Place) -> None:
    store, out = place
    earlier, now = job(place, "1" * 16), WorkArea(join(out, "_facemill", "2" * 16))
    finish(earlier, A, place)
    finish(earlier, B, place)
    found = found_by(now, place)
    store.remove([earlier.parts(A, "videos")])
    assert take_over(now, found, store) == 1
    assert [read_video_row(now, source, store) is not None for source in (A, B)] == [False, True]


def test_videos_may_come_from_several_jobs(place: Place) -> None:
    first, second = job(place, "1" * 16), job(place, "2" * 16)
    finish(first, A, place)
    finish(first, B, place)
    finish(second, B, place)
    finish(second, D, place)
    found = found_by(WorkArea(join(place[1], "_facemill", "3" * 16)), place)
    assert {done.source.relative_path for done in found} == {"a.mp4", "b.mp4", "d.mp4"}
    assert len(found) == 3


@pytest.mark.parametrize("other", [{"settings": {**SETTINGS, "shard_seconds": 3.0}}, {"weights": {}}])
def test_a_job_of_other_pixels_has_nothing_to_give(place: Place, other: dict[str, Any]) -> None:
    finish(job(place, "1" * 16), A, place)
    assert found_by(WorkArea(join(place[1], "_facemill", "2" * 16)), place, **other) == []


def test_a_changed_source_is_another(place: Place) -> None:
    store, out = place
    finish(job(place, "1" * 16), A, place)
    changed = Source(A.url, A.relative_path, FileIdentity(9, "2"))
    assert done_elsewhere(WorkArea(join(out, "_facemill", "2" * 16)), out, [changed], SETTINGS, WEIGHTS, store) == []


def test_a_destination_without_jobs_has_nothing(place: Place) -> None:
    assert found_by(WorkArea(join(place[1], "_facemill", "1" * 16)), place) == []
