"""The commit protocol, write by write: a crash before any of them costs nothing, and two runs at once do no harm.

`SteppedStore` counts what it changes in storage. Before one of these changes it lets another thing happen: the end of
the process, or the whole of another run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from s3fs import S3FileSystem

from storage.encoding import EncodeSettings
from storage.errors import MediaError
from storage.failures import Failure, read_failures
from storage.finishing import FinishingOrder, _assemble, finish_video, finished_row, give_up
from storage.manifest import join_tables
from storage.media_index import index_media
from storage.receipts import Receipt, WorkArea, read_receipts
from storage.segments import file_sha256
from storage.shards import Shard
from storage.store import Store, join
from storage.video_rows import read_video_rows
from tests.conftest import S3Server
from tests.media import Audio, Clip, make_video, shards_of
from tests.storage.shard_work import SETTINGS, commit_shard, finishing_order

FRAMES = 12
OTHER_SETTINGS = EncodeSettings(preset="ultrafast", crf=10)
"""They make other bytes of the same frames, as another machine's encoder may."""


class Crash(BaseException):
    """The process ends here."""


def crash() -> None:
    raise Crash


@dataclass(frozen=True)
class SteppedStore(Store):
    """A store that calls `between` before change number `step` of those made through it."""

    step: int = -1
    between: Callable[[], object] = crash
    changes: list[str] = field(default_factory=list)

    def _change(self, url: str) -> None:
        self.changes.append(url)
        if len(self.changes) - 1 == self.step:
            self.between()

    def commit_file(self, written: Path, url: str, *, keep: bool = False) -> bool:
        self._change(url)
        return super().commit_file(written, url, keep=keep)

    def commit_bytes(self, content: bytes, url: str, *, keep: bool = False) -> bool:
        if url.startswith("s3://"):  # on disks it goes through commit_file
            self._change(url)
        return super().commit_bytes(content, url, keep=keep)

    def remove(self, *groups: Iterable[str]) -> None:
        for group in groups:
            for url in group:
                self._change(url)
                super().remove([url])


@dataclass
class Ground:
    """A video in two shards, and room for any number of jobs that restore it."""

    store: Store
    url: str
    shards: list[Shard]
    scratch: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)
    made: dict[float, tuple[list[Receipt], dict[str, bytes]]] = field(default_factory=dict)

    def new_area(self) -> WorkArea:
        return WorkArea(join(self.url, f"out-{next(self.numbers)}", "_facemill", "job"))

    def stepped(self, step: int = -1, between: Callable[[], object] = crash) -> SteppedStore:
        return SteppedStore(self.store.s3_endpoint, step=step, between=between)

    def order(self, area: WorkArea | None = None) -> FinishingOrder:
        """All shards done: in a new area, or once more in that of another run, with other bytes."""
        settings = SETTINGS if area is None else OTHER_SETTINGS
        area = area or self.new_area()
        receipts, objects = self._made(settings)
        for name, content in objects.items():
            self.store.commit_bytes(content, join(area.work, name), keep=True)
        return finishing_order(self.shards, receipts, area, out_of(area))

    def _made(self, settings: EncodeSettings) -> tuple[list[Receipt], dict[str, bytes]]:
        """Receipts, and what is in the work area, by name; encoded once."""
        if settings.crf not in self.made:
            aside = WorkArea(str(self.scratch / str(settings.crf)))
            receipts = [commit_shard(shard, aside, Store(), settings) for shard in self.shards]
            urls = Store().list_files(aside.work)
            objects = {url.removeprefix(f"{aside.work}/"): Store().read_bytes(url) for url in urls}
            self.made[settings.crf] = receipts, objects
        return self.made[settings.crf]


@pytest.fixture(params=["disk", "s3"])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Ground:
    shards = shards_of(make_video(tmp_path / "a.mp4", Clip(frames=FRAMES)), Fraction(FRAMES, 50))
    assert len(shards) == 2
    if request.param == "disk":
        return Ground(Store(), str(tmp_path / "ground"), shards, tmp_path)
    return s3_ground(request.getfixturevalue("s3"), shards, tmp_path)


def s3_ground(s3: S3Server, shards: list[Shard], scratch: Path) -> Ground:
    return Ground(Store(s3.endpoint), f"{s3.make_bucket()}/ground", shards, scratch)


def out_of(area: WorkArea) -> str:
    """The destination of the job that has this area."""
    return area.url.partition("/_facemill")[0]


def assert_whole(order: FinishingOrder, store: Store) -> None:
    """The result has every frame."""
    with store.local_copy(join(order.out, "a.mp4")) as path:
        frames = index_media(str(path), "a.mp4", bare=False, threads=1).frames
    assert frames is not None
    assert len(frames.pts) == FRAMES
    assert not frames.not_decoded


def assert_nothing_is_promised_that_is_not_there(order: FinishingOrder, store: Store) -> None:
    """A video on record has its result; of any other all shards are there."""
    if finished_row(order.area, order.out, order.shard.source, store) is not None:
        assert_whole(order, store)
    else:
        assert len(list(read_receipts(order.area, [order.shard.source], store))) == len(order.receipts)


def record(order: FinishingOrder, store: Store) -> dict[str, Any]:
    row = finished_row(order.area, order.out, order.shard.source, store)
    assert row is not None
    return row


def left_working(order: FinishingOrder, store: Store) -> list[str]:
    return store.list_files(order.area.work)


@pytest.mark.parametrize("muxer", ["mp4", "mov", "matroska", "mpegts", "nut"])
def test_the_same_segments_make_the_same_file_in_every_run(muxer: str, tmp_path: Path) -> None:
    """Whoever of two runs writes the result and whoever the record, they agree."""
    clip = Clip(frames=FRAMES, audio=(Audio(codec="mp2"),), muxer=muxer)
    shards = shards_of(make_video(tmp_path / f"a.{muxer}", clip), Fraction(FRAMES, 50))
    area = WorkArea(str(tmp_path / "_facemill" / "job"))
    receipts = [commit_shard(shard, area, Store()) for shard in shards]
    order = finishing_order(shards, receipts, area, str(tmp_path / "out"))
    order = replace(order, choice=replace(order.choice, muxer=muxer))
    hashes = {_assemble(replace(order, out=str(tmp_path / out)), "restored", Store())[1] for out in ("one", "other")}
    assert len(hashes) == 1


def test_a_crash_before_any_change_of_finishing_costs_nothing(ground: Ground) -> None:
    undisturbed, counted = ground.order(), ground.stepped()
    finish_video(undisturbed, counted)
    expected = ground.store.read_bytes(join(undisturbed.out, "a.mp4"))
    assert len(counted.changes) > 8
    for step, change in enumerate(counted.changes):
        order = ground.order()
        with pytest.raises(Crash):
            finish_video(order, ground.stepped(step))
        assert_nothing_is_promised_that_is_not_there(order, ground.store)
        finish_video(order, ground.store)
        assert ground.store.read_bytes(join(order.out, "a.mp4")) == expected, change
        assert record(order, ground.store) == record(undisturbed, ground.store), change
        assert left_working(order, ground.store) == [], change


def test_two_runs_that_finish_a_video_at_the_same_time_make_one_of_it(ground: Ground) -> None:
    """One run finishes between any two changes of the other, from segments of other bytes."""
    counted = ground.stepped()
    finish_video(ground.order(), counted)
    sizes = set()
    for step, change in enumerate(counted.changes):
        order = ground.order()
        other = ground.order(area=order.area)
        finish_video(order, ground.stepped(step, lambda other=other: finish_video(other, ground.store)))
        assert_whole(order, ground.store)
        assert record(order, ground.store)["frames"] == FRAMES, change
        assert left_working(order, ground.store) == [], change
        sizes.add(record(order, ground.store)["output_size"])
    assert len(sizes) == 2  # now one run's segments were joined, now the other's


def test_of_two_jobs_with_one_destination_the_record_of_the_result_that_stands_is_believed(ground: Ground) -> None:
    """Another job puts its own result there, between any two changes."""
    counted = ground.stepped()
    finish_video(ground.order(), counted)
    for step, change in enumerate(counted.changes):
        order = ground.order()
        other = ground.order(area=WorkArea(join(order.out, "_facemill", "other")))
        finish_video(order, ground.stepped(step, lambda other=other: finish_video(other, ground.store)))
        rows = [finished_row(each.area, each.out, each.shard.source, ground.store) for each in (order, other)]
        with ground.store.local_copy(join(order.out, "a.mp4")) as standing:
            assert [row["sha256"] for row in rows if row] == [file_sha256(standing)], change


def test_two_runs_that_make_a_shard_at_the_same_time_leave_one_receipt_and_what_it_names(ground: Ground) -> None:
    counted = ground.stepped()
    area = ground.new_area()
    commit_shard(ground.shards[0], area, counted)
    assert len(counted.changes) == 3
    for step in range(len(counted.changes)):
        area = ground.new_area()
        others: list[Receipt] = []

        def run_other(area: WorkArea = area, others: list[Receipt] = others) -> None:
            others.append(commit_shard(ground.shards[0], area, ground.store, OTHER_SETTINGS))

        mine = commit_shard(ground.shards[0], area, ground.stepped(step, run_other))
        assert others == [mine]
        (stands,) = read_receipts(area, [ground.shards[0].source], ground.store)
        assert stands == mine
        with ground.store.local_copy(area.segment(ground.shards[0], "restored", mine.sha256["restored"])) as segment:
            assert file_sha256(segment) == mine.sha256["restored"]


def test_a_shard_that_is_made_again_after_a_crash_is_never_mixed_with_what_was_left(ground: Ground) -> None:
    for step in range(3):
        area = ground.new_area()
        with pytest.raises(Crash):
            commit_shard(ground.shards[0], area, ground.stepped(step))
        receipts = [commit_shard(shard, area, ground.store, OTHER_SETTINGS) for shard in ground.shards]
        order = finishing_order(ground.shards, receipts, area, out_of(area))
        finish_video(order, ground.store)
        assert_whole(order, ground.store)
        assert left_working(order, ground.store) == []


@pytest.mark.parametrize("answer", ["ignores", "NotImplemented"])
def test_a_server_without_conditional_writes_loses_nothing_to_two_runs(
    answer: str, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At worst the record tells of the other run's result and is not believed: then the video is made once more."""
    shards = shards_of(make_video(tmp_path / "a.mp4", Clip(frames=FRAMES)), Fraction(FRAMES, 50))
    ground = s3_ground(s3, shards, tmp_path)
    call = S3FileSystem._call_s3

    async def without_conditions(filesystem: S3FileSystem, method: str, *given: Any, **named: Any) -> Any:
        if named.pop("IfNoneMatch", None) and answer != "ignores":
            told = {"Error": {"Code": answer, "Message": "A header you provided implies functionality not implemented"}}
            raise OSError(38, answer) from ClientError(told, method)
        return await call(filesystem, method, *given, **named)

    monkeypatch.setattr(S3FileSystem, "_call_s3", without_conditions)
    counted = ground.stepped()
    finish_video(ground.order(), counted)
    for step in range(len(counted.changes)):
        order = ground.order()
        other = ground.order(area=order.area)
        with suppress(MediaError):  # of working objects that the other run has removed
            finish_video(order, ground.stepped(step, lambda other=other: finish_video(other, ground.store)))
        assert_whole(order, ground.store)


def test_a_run_in_which_a_video_fails_takes_nothing_from_one_in_which_it_does_not(ground: Ground) -> None:
    """Whichever of the two comes first, at any moment."""
    counted = ground.stepped()
    finish_video(ground.order(), counted)
    for step in range(len(counted.changes)):
        order = ground.order()
        source, failure = order.shard.source, Failure(reason="its worker was killed")

        def fail(order: FinishingOrder = order, failure: Failure = failure) -> None:
            give_up(order.area, order.out, order.shard.source, failure, ground.store)

        finish_video(order, ground.stepped(step, fail))
        assert record(order, ground.store)["status"] == "done"
        assert not give_up(order.area, order.out, source, failure, ground.store)
        reasons = {key: found.reason for key, found in read_failures(order.area, ground.store).items()}
        join_tables(order.area, [source], reasons, ground.store)
        assert [row["status"] for row in read_video_rows(order.out, ground.store)] == ["done"]


def test_a_result_that_is_gone_is_not_on_record_when_its_video_fails(ground: Ground) -> None:
    order = ground.order()
    source = order.shard.source
    finish_video(order, ground.store)
    ground.store.remove([join(order.out, "a.mp4")])
    assert give_up(order.area, order.out, source, Failure(reason="no more"), ground.store)
    join_tables(order.area, [source], {source.key: "no more"}, ground.store)
    assert [row["reason"] for row in read_video_rows(order.out, ground.store)] == ["no more"]


def test_a_result_that_is_made_again_stays_until_it_is_replaced(ground: Ground) -> None:
    order = ground.order()
    finish_video(order, ground.store)
    before = record(order, ground.store)
    ground.store.commit_bytes(b"", order.area.redo(order.shard.source))
    other = ground.order(area=order.area)
    counted: list[int] = []
    replaced = ground.stepped(1, lambda: counted.append(ground.store.identity(join(order.out, "a.mp4")).size))
    finish_video(other, replaced)
    assert counted == [before["output_size"]]
    assert record(order, ground.store)["output_size"] != before["output_size"]
    assert left_working(order, ground.store) == []


def test_a_failure_to_make_a_result_again_leaves_the_old_one_on_record(ground: Ground) -> None:
    order = ground.order()
    source = order.shard.source
    finish_video(order, ground.store)
    ground.store.commit_bytes(b"", order.area.redo(source))
    assert give_up(order.area, order.out, source, Failure(reason="no more"), ground.store)
    assert record(order, ground.store)["status"] == "done"
    assert read_failures(order.area, ground.store)[source.key].reason == "no more"
