"""A run looks at what there is before it writes, and forgets nothing that another run goes by."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.config import load_config
from flows.driver import Outcome
from flows.job import Job, open_job
from flows.resuming import Standing, begin, put_on_record, standing_of, take_over_done
from storage.cleaning import give_up_job, jobs_held
from storage.errors import DestinationError, UsageError
from storage.failures import Failure, commit_failure, read_failures
from storage.manifest import commit_part, done_video_row
from storage.run_lock import run_lock
from storage.store import Store
from tests.media import Clip, make_video

AT_WORK = """
import sys
from storage.receipts import WorkArea
from storage.run_lock import run_lock
with run_lock(WorkArea(sys.argv[1])) as lock:
    lock.share()
    print("at work", flush=True)
    sys.stdin.read()
"""


def opened(tmp_path: Path, *, force: bool = False) -> Job:
    if not (tmp_path / "a.mp4").exists():
        make_video(tmp_path / "a.mp4", Clip(frames=2))
    flags = {"sources": [str(tmp_path / "a.mp4")], "out": str(tmp_path / "out"), "experts": "none", "force": force}
    return open_job(load_config(None, flags))


def test_looking_writes_nothing(tmp_path: Path) -> None:
    job = opened(tmp_path)
    assert standing_of(job, Outcome()).pending == job.sources
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_that_has_grown_costs_what_is_new(tmp_path: Path) -> None:
    """As of an archive that is restored every night."""
    before, store, out = opened(tmp_path), Store(), str(tmp_path / "out")
    put_on_record(before)
    store.commit_bytes(b"video", f"{out}/a.mp4")
    for table in ("faces", "shards"):
        commit_part(before.area, before.sources[0], table, [], store)
    row = done_video_row(before.sources[0], {"output": "a.mp4", "output_size": 5})
    commit_part(before.area, before.sources[0], "videos", [row], store)
    make_video(tmp_path / "b.mp4", Clip(frames=2))
    flags = {"sources": [str(tmp_path / "?.mp4")], "out": out, "experts": "none"}
    forced = open_job(load_config(None, {**flags, "force": True}))
    assert take_over_done(forced, standing_of(forced, Outcome())) == 0
    now, outcome = open_job(load_config(None, flags)), Outcome()
    assert now.name != before.name
    assert take_over_done(now, standing_of(now, outcome)) == 1
    assert [source.relative_path for source in standing_of(now, outcome).pending] == ["b.mp4"]
    assert outcome.done == ["a.mp4"]
    with begin(forced, standing_of(forced, Outcome())):
        pass  # ... and killed: what it has marked is not taken back
    assert take_over_done(now, standing_of(now, Outcome())) == 0
    assert standing_of(now, Outcome()).pending == now.sources


def test_a_record_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    job = opened(tmp_path)
    (tmp_path / "out" / "_facemill").write_text("a file where a folder belongs")
    with (
        pytest.raises(DestinationError, match="a part of this path is a file"),
        begin(job, Standing(job.sources, (), {})),
    ):
        pytest.fail("it has begun")


def test_the_record_is_locked_where_only_what_may_be_written_can_be_held_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mock of NFS, which cannot be mounted here."""
    job = opened(tmp_path)
    put_on_record(job)
    lock = fcntl.flock

    def of_nfs(descriptor: int, how: int) -> None:
        if how & fcntl.LOCK_EX and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    with run_lock(job.area) as first, run_lock(job.area) as second:
        first.take_alone()
        with pytest.raises(UsageError, match="another run of the job"):
            second.take_alone()
        assert not second.try_alone()


def test_a_run_that_begins_while_its_job_is_given_up_waits_and_makes_it_a_job_again(tmp_path: Path) -> None:
    job = opened(tmp_path)
    put_on_record(job)
    standing, begun = standing_of(job, Outcome()), threading.Event()

    def run() -> None:
        with begin(job, standing):
            begun.set()

    beginning = threading.Thread(target=run, daemon=True)
    with jobs_held(str(tmp_path / "out"), job.store, before=datetime.now(UTC) + timedelta(days=1)) as held:
        assert [folder.area for folder in held] == [job.area]
        beginning.start()
        assert not begun.wait(0.2)
        give_up_job(job.area, job.store)
    beginning.join(60)
    assert begun.is_set()
    assert not job.store.exists(job.area.abandoned)


def test_force_is_refused_while_another_run_is_at_work(tmp_path: Path) -> None:
    """That run would find what it has done gone, and give videos up."""
    plain, forced = opened(tmp_path), opened(tmp_path, force=True)
    assert plain.name == forced.name
    with begin(plain, standing_of(plain, Outcome())):
        pass
    commit_failure(plain.area, plain.sources[0], Failure(reason="the disk is full"), plain.store)
    command = [sys.executable, "-c", AT_WORK, plain.area.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "at work\n"
        with begin(plain, standing_of(plain, Outcome())):
            pass  # two plain runs do no harm
        with (
            pytest.raises(UsageError, match=r"--force: another run of the job .* is at work"),
            begin(forced, standing_of(forced, Outcome())),
        ):
            pytest.fail("both are at work")
        assert read_failures(plain.area, plain.store)
        other.stdin.close()
    with begin(forced, standing_of(forced, Outcome())):
        assert not read_failures(plain.area, plain.store)
