"""How far an evaluation is: a bar on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_EVERY_SECONDS = 15.0


class EvaluationProgress:
    """Counts work in any unit that grows with time; use as a context manager."""

    def __init__(self, console: Console, *, total: float) -> None:
        self._console, self._total = console, max(total, 1e-9)
        self._done = 0.0
        self._started = self._last_line = time.monotonic()
        self._bar = Progress(
            BarColumn(bar_width=40),
            TextColumn("{task.percentage:3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=self._total)

    def __enter__(self) -> EvaluationProgress:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def begin(self, what: str) -> None:
        """Say what is worked on."""
        self._bar.update(self._task, description=what)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line >= _LINE_EVERY_SECONDS:
            self._last_line = now
            self._console.print(f"{100 * self._done / self._total:.0f} %{self._left(now)}: {what}")

    def finish(self, work: float) -> None:
        """Count work as done."""
        self._done += work
        self._bar.update(self._task, completed=self._done)

    def _left(self, now: float) -> str:
        if self._done <= 0:
            return ""
        seconds = (now - self._started) * (self._total - self._done) / self._done
        return f", about {seconds / 60:.0f} min left"
