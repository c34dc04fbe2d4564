"""What a person is told while a job runs."""

import io

from rich.console import Console

from flows.progress import JobProgress
from storage.receipts import Receipt
from storage.shards import PtsRange


def told(*, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=110)
    with JobProgress(console, videos=3, shards=4, frames=200, done_before=1) as progress:
        receipt = Receipt("key", PtsRange(None, None), frames=50, tiers={"tiny": 2, "small": 7})
        progress.receipt_in(receipt, shards_done=1)
        progress.video_done("a.mp4 -> a.mp4")
        progress.video_failed("b[1].mp4", "it is empty")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_log_gets_whole_lines_without_control_codes() -> None:
    lines = told(terminal=False).splitlines()
    assert lines[0] == "done: a.mp4 -> a.mp4"
    assert lines[1] == "failed: b[1].mp4: it is empty"
    assert lines[2].startswith("videos 2/3, shards 1/4, 50 frames at ")
    assert "faces in frames: 2 tiny, 7 small, 0 medium, 0 large, time left 0:00:0" in lines[2]
    assert lines[2].endswith("failed 1")
    assert "\x1b" not in told(terminal=False)


def test_a_terminal_gets_a_live_table() -> None:
    shown = told(terminal=True)
    assert "\x1b[" in shown
    for words in ("2 of 3 done, 1 failed", "1 of 4", "7 small", "25%"):
        assert words in shown
