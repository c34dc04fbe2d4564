"""What a person sees while a job runs: a live table on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from actors.routing import Tier
from flows import steps
from flows.steps import clock, now_and_then, say
from storage.receipts import Receipt
from storage.words import counted


class JobProgress:
    """Counts what is done and shows it. Use as a context manager around the run."""

    def __init__(
        self, console: Console, *, videos: int, shards: int, frames: int, done_before: int, failed_before: int = 0
    ) -> None:
        """Args:
        videos: of the job, those already finished included.
        shards: still to be done.
        frames: in them, by the headers; the videos' own counts may differ.
        done_before: videos that an earlier run finished.
        failed_before: videos that an earlier run gave up, and that are left alone.
        """
        self._console = console
        self._videos, self._shards, self._frames = videos, shards, frames
        self._videos_done, self._videos_failed = done_before, failed_before
        self._shards_done = self._frames_done = 0
        self._tiers: Counter[str] = Counter()
        self._started = self._last_receipt = time.monotonic()
        self._receipts = 0
        self._beat = ExitStack()
        self._bar = Progress(BarColumn(bar_width=60), TextColumn("{task.percentage:3.0f}%"))
        self._task = self._bar.add_task("frames", total=max(1, frames))
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> JobProgress:
        if self._console.is_terminal:
            self._live.start()
        else:
            if self._shards:
                self._say(self._doing())
            self._beat.enter_context(now_and_then(self._tell, steps.LINE_EVERY_SECONDS))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()
        else:
            self._beat.close()
            self._say(self.line())

    def receipt_in(self, receipt: Receipt, shards_done: int) -> None:
        """A receipt came in, of a shard or of a part of one; `shards_done` of this run are complete with it."""
        self._shards_done = shards_done
        self._last_receipt = time.monotonic()
        self._receipts += 1
        self._frames_done += receipt.frames
        self._tiers.update(receipt.tiers)
        self._bar.update(self._task, completed=min(self._frames, self._frames_done))

    def _tell(self) -> None:
        """Where there is no terminal: a line, whether or not something came in."""
        self._say(self.line() if self._receipts or not self._shards else self._doing())

    def _doing(self) -> str:
        """What the job waits for, in words."""
        if self._shards_done >= self._shards:
            return "joining the segments of the last videos"
        if not self._receipts:
            waited = clock(time.monotonic() - self._started)
            return (
                f"waiting for the first of {counted(self._shards, 'shard')}, {waited} so far: the workers load PyTorch "
                "and their models, then find and restore faces; a CPU needs minutes for a shard, more for many faces"
            )
        return f"{counted(self._shards - self._shards_done, 'shard')} to go"

    def video_done(self, name: str) -> None:
        """A video was committed."""
        self._videos_done += 1
        self._say(f"done: {name}")

    def video_failed(self, name: str, reason: str) -> None:
        """A video was given up."""
        self._videos_failed += 1
        self._say(f"failed: {name}: {reason}")

    @property
    def frames_per_second(self) -> float:
        """Since the run began."""
        return self._frames_done / max(1e-9, time.monotonic() - self._started)

    def line(self) -> str:
        """Everything in one line; of frames only where this run has any to do."""
        if not self._shards:
            return f"videos {self._videos_done}/{self._videos}, failed {self._videos_failed}"
        tiers = ", ".join(f"{self._tiers[tier]} {tier}" for tier in Tier) if self._tiers else "none yet"
        return (
            f"videos {self._videos_done}/{self._videos}, shards {self._shards_done}/{self._shards}, "
            f"{self._frames_done} frames at {self.frames_per_second:.1f}/s, faces in frames: {tiers}, "
            f"time left {self._time_left()}, failed {self._videos_failed}"
        )

    def _time_left(self) -> str:
        """By the pace up to the last receipt, running down until the next one; unknown once that is overdue."""
        if not self._frames_done:
            return "unknown"
        a_frame = (self._last_receipt - self._started) / self._frames_done
        to_do = max(0, self._frames - self._frames_done)
        left = a_frame * to_do - (time.monotonic() - self._last_receipt)
        return "unknown" if left < 0 < to_do else clock(max(0.0, left))

    def _table(self) -> Group:
        rows = Table.grid(padding=(0, 2))
        faces = "  ".join(f"{self._tiers[tier]} {tier}" for tier in Tier)
        for what, told in (
            ("videos", f"{self._videos_done} of {self._videos} done, {self._videos_failed} failed"),
            ("shards", f"{self._shards_done} of {self._shards}"),
            ("frames", f"{self._frames_done} at {self.frames_per_second:.1f}/s, time left {self._time_left()}"),
            ("faces", f"{faces}  (in frames)"),
            ("now", self._doing()),
        ):
            rows.add_row(what, Text(told))
        return Group(rows, self._bar)

    def _say(self, text: str) -> None:
        say(self._console, text)
