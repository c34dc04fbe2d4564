"""The compositor: a shard that is done stays done."""

from __future__ import annotations

from pathlib import Path

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
