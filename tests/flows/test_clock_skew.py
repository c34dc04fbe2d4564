"""Machines whose clocks are hours apart delete nothing of each other's, and lose nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import botocore.auth
import pytest
from rich.console import Console

from flows.driver import Outcome
from flows.restore import _clear_work
from storage.errors import DestinationError
from storage.receipts import read_receipts
from storage.storage_errors import storage_errors_as
from storage.store import Store
from tests.conftest import S3Server
from tests.flows.test_clean import Destination, cleaned, on, partial
from tests.flows.test_planning import job
from weights.fetching import _DRAFTS, _remove_abandoned

__all__ = ["on"]

HOURS = [-25, -1, 1, 25]
"""By which this machine's clock is ahead of everybody else's. Clean leaves what is younger than a day."""


@pytest.fixture(params=HOURS)
def hours(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """All that facemill asks this machine's clock is answered so much too late."""
    ahead, right = timedelta(hours=request.param), time.time

    class AnyDatetime(type):
        def __instancecheck__(cls, one: object) -> bool:
            return isinstance(one, datetime)

    class Ahead(datetime, metaclass=AnyDatetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + ahead

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("flows", "storage", "actors") and getattr(module, "datetime", None) is datetime:
            monkeypatch.setattr(module, "datetime", Ahead)
    monkeypatch.setattr(time, "time", lambda: right() + ahead.total_seconds())
    return float(request.param)


def other_machines(destination: Destination) -> list[Path]:
    """What another machine, whose locks are not seen here, has just begun to write: a partial file, or an upload."""
    if destination.out.startswith("s3://"):
        destination.begin_upload("half.mp4")
        destination.begin_upload(f"_facemill/{destination.area.name}/work/x/a.mp4")
        return []
    writing = Path(destination.out) / ".facemill-partial-of-another-machine"
    writing.write_bytes(b"half")
    return [writing]


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_what_another_machine_is_just_writing_stays(
    where: str,
    hours: float,
    on: Callable[[str], Destination],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    destination = on(where)
    writing, uploads = other_machines(destination), destination.uploads
    server = ("--s3-endpoint", destination.store.s3_endpoint) if where == "s3" else ()
    told = cleaned(capsys, monkeypatch, destination.out, "--unfinished", *server)
    assert told == "removed nothing; what is younger than 1d stays\n"
    assert all(path.exists() for path in writing)
    assert destination.uploads == uploads
    assert len(list(read_receipts(destination.area, destination.sources, destination.store))) == 1


def test_what_is_old_by_the_disks_clock_goes(
    hours: float, on: Callable[[str], Destination], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = on("disk")
    left = partial(destination, ".facemill-partial-left", days=3 + hours / 24)
    cleaned(capsys, monkeypatch, destination.out)
    assert not left.exists()


def test_the_end_of_a_run_leaves_another_jobs_upload_to_the_name_of_its_result(
    hours: float, on: Callable[[str], Destination], tmp_path: Path
) -> None:
    destination = on("s3")
    destination.begin_upload("done.mp4")
    finished = replace(
        job(tmp_path / "unused"), out=destination.out, store=destination.store, sources=tuple(destination.sources)
    )
    _clear_work(finished, Outcome(done=["done.mp4"]), Console(quiet=True))
    assert destination.uploads == {"done.mp4"}


def test_weights_that_another_machine_is_fetching_stay(hours: float, tmp_path: Path) -> None:
    draft = tmp_path / f"{_DRAFTS}1"
    draft.mkdir()
    _remove_abandoned(tmp_path)
    assert draft.exists()


@pytest.mark.parametrize("hours", HOURS)
def test_a_server_that_refuses_this_machines_clock_is_told(
    hours: float, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 takes no request that was signed more than a quarter of an hour ago, or ahead."""
    url, right = f"{s3.make_bucket()}/a.bin", botocore.auth.get_current_datetime
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda *given, **named: right(*given, **named) + timedelta(hours=hours)
    )
    told = pytest.raises(DestinationError, match=r"the clock of this machine is wrong\. Set it")
    with told, storage_errors_as(DestinationError, url):
        Store(s3.endpoint).commit_bytes(b"x", url)
