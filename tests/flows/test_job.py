"""A job finds its working objects again, by whatever name its destination is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config import load_config
from flows.job import open_job
from storage.receipts import Receipt, read_receipts
from storage.shards import PtsRange
from storage.store import join
from tests.conftest import S3Server
from tests.media import Clip, make_video


@pytest.mark.parametrize("scheme", ["s3://", "s3a://", "file://"])
def test_what_is_done_is_found_again(scheme: str, tmp_path: Path, s3: S3Server) -> None:
    source = make_video(tmp_path / "a.mp4", Clip(frames=2))
    place = f"file://{tmp_path}/out" if scheme == "file://" else s3.make_bucket().replace("s3://", scheme) + "/out"
    flags = {"sources": [str(source)], "out": place, "experts": "none", "s3_endpoint": s3.endpoint}
    job = open_job(load_config(None, flags))
    done = Receipt(job.sources[0].key, PtsRange(None, None))
    job.store.commit_bytes(done.to_json().encode(), join(job.area.video(done.video), "begin_end.receipt.json"))
    assert list(read_receipts(job.area, job.sources, job.store)) == [done]
