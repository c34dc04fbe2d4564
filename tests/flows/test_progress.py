"""What a person is told while a job runs."""

import io
import re
import time

import pytest
from rich.console import Console

from flows import progress, steps
from flows.progress import JobProgress
from storage.receipts import Receipt
from storage.shards import PtsRange


def told(*, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=110)
    with JobProgress(console, videos=3, shards=4, frames=200, done_before=1) as running:
        receipt = Receipt("key", PtsRange(None, None), frames=50, tiers={"tiny": 2, "small": 7})
        running.receipt_in(receipt, shards_done=1)
        running.video_done("a.mp4 -> a.mp4")
        running.video_failed("b[1].mp4", "it is empty")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_log_gets_whole_lines_without_control_codes() -> None:
    lines = told(terminal=False).splitlines()
    assert lines[0].startswith("waiting for the first of 4 shards, 0:00:00 so far: ")
    assert lines[1] == "done: a.mp4 -> a.mp4"
    assert lines[2] == "failed: b[1].mp4: it is empty"
    assert lines[3].startswith("videos 2/3, shards 1/4, 50 frames at ")
    assert "faces in frames: 2 tiny, 7 small, 0 medium, 0 large, time left 0:00:0" in lines[3]
    assert lines[3].endswith("failed 1")
    assert "\x1b" not in told(terminal=False)


def test_a_terminal_gets_a_live_table() -> None:
    shown = told(terminal=True)
    assert "\x1b[" in shown
    for words in ("2 of 3 done, 1 failed", "1 of 4", "7 small", "25%", "3 shards to go"):
        assert words in shown


def test_a_log_is_not_silent_while_nothing_comes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting the workers takes minutes on a busy machine, and so may a shard."""
    monkeypatch.setattr(steps, "LINE_EVERY_SECONDS", 0.01)
    console = Console(file=io.StringIO(), width=400)
    assert isinstance(console.file, io.StringIO)
    with JobProgress(console, videos=1, shards=2, frames=50, done_before=0) as running:
        _wait_for(console.file, "waiting for the first of ", times=3)
        running.receipt_in(Receipt("key", PtsRange(None, None), frames=25), shards_done=1)
        told = console.file.getvalue().count("\n")
        _wait_for(console.file, "shards 1/2, 25 frames", times=2)
    assert "waiting for the first" not in "".join(console.file.getvalue().splitlines()[told + 1 :])


def _wait_for(printed: io.StringIO, words: str, times: int) -> None:
    until = time.monotonic() + 10
    while printed.getvalue().count(words) < times:
        assert time.monotonic() < until, printed.getvalue()
        time.sleep(0.01)


def test_a_run_without_a_shard_to_do_tells_nothing_of_frames() -> None:
    console = Console(file=io.StringIO())
    with JobProgress(console, videos=3, shards=0, frames=0, done_before=2, failed_before=1):
        pass
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "videos 2/3, failed 1\n"


def test_the_time_left_runs_down_while_nothing_comes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    running = JobProgress(Console(file=io.StringIO()), videos=1, shards=4, frames=200, done_before=0)
    now[0] += 10
    running.receipt_in(Receipt("key", PtsRange(None, None), frames=50), shards_done=1)
    left = []
    for later in (0, 15, 45):
        now[0] = 110.0 + later
        left.append(re.findall(r"time left (\S+),", running.line()))
    assert left == [["0:00:30"], ["0:00:15"], ["unknown"]]
