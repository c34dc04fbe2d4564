"""The compositor: a shard that is done stays done, and one that reads otherwise the second time is told as that."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.frame_compositor import FrameCompositor
from actors.work import ShardWork, to_table
from storage.encoding import EncodeSettings, SizeSettings
from storage.receipts import Receipt, WorkArea, commit_receipt
from storage.store import Store
from tests.media import Clip, make_video, whole


def test_a_shard_whose_worker_died_after_the_commit_is_not_done_again(tmp_path: Path) -> None:
    shard, area = whole(make_video(tmp_path / "a.mp4", Clip(frames=3))), WorkArea(str(tmp_path / "job"))
    receipt = commit_receipt(area, shard, Receipt(shard.source.key, shard.range, frames=3, seconds=1.5), Store())
    compositor = FrameCompositor(Store(), area, SizeSettings(), EncodeSettings(), ("restored",))
    Path(shard.source.url).unlink()  # nothing can be done again
    (table,) = compositor(to_table([ShardWork(shard, frames=3)]))
    assert Receipt.from_json(table["receipt"][0].as_py()) == receipt


def test_frames_that_are_not_those_that_were_searched_are_not_laid_on_a_file_that_is_the_same(tmp_path: Path) -> None:
    shard, area = whole(make_video(tmp_path / "a.mp4", Clip(frames=3))), WorkArea(str(tmp_path / "job"))
    compositor = FrameCompositor(Store(), area, SizeSettings(), EncodeSettings(), ("restored",))
    (table,) = compositor(to_table([ShardWork(shard, frames=4)]))
    told = Receipt.from_json(table["receipt"][0].as_py()).error
    assert told.startswith(f"{shard.source.url}: 4 frames were searched in begin_end, 3 could be read again")
    assert "changed" not in told


def test_an_error_that_nobody_foresaw_names_the_file_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, area = whole(make_video(tmp_path / "a.mp4", Clip(frames=3))), WorkArea(str(tmp_path / "job"))
    compositor = FrameCompositor(Store(), area, SizeSettings(), EncodeSettings(), ("restored",))
    monkeypatch.delattr("actors.frame_compositor.read_pictures")
    (table,) = compositor(to_table([ShardWork(shard, frames=3)]))
    assert Receipt.from_json(table["receipt"][0].as_py()).error == (
        f"{shard.source.url}: NameError: name 'read_pictures' is not defined. Run the same command again, and report "
        "it if it says so again"
    )
