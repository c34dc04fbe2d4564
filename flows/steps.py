"""What a person is told of a step that takes a while: live on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from storage.words import printable

LINE_EVERY_SECONDS = 10.0


class Step:
    """What is done, how far it has come, and since when."""

    def __init__(self, doing: str, show: Callable[[str], None]) -> None:
        """Args:
        doing: in words.
        show: takes the line whenever it changes.
        """
        self._doing, self._reached, self._show = doing, "", show
        self._begun = time.monotonic()

    def reached(self, done: int, of: int) -> None:
        """So many are done of all that there are."""
        self._reached = f"; {done} of {of} done"
        self._show(self._doing + self._reached)

    def line(self) -> str:
        """All of it."""
        return f"{self._doing}{self._reached}; {clock(time.monotonic() - self._begun)} so far"


@contextmanager
def step(console: Console, doing: str, *, at_once: bool = True) -> Iterator[Step]:
    """Say what is done in the block: while it lasts on a terminal, in lines of their own anywhere else.

    Args:
        at_once: begin with a line; otherwise there is none before the step has taken long.
    """
    if console.is_terminal:
        with console.status(Text(doing)) as status:
            yield Step(doing, lambda line: status.update(Text(line)))
        return
    if at_once:
        say(console, doing)
    running = Step(doing, lambda _: None)
    with now_and_then(lambda: say(console, running.line()), LINE_EVERY_SECONDS):
        yield running


@contextmanager
def now_and_then(act: Callable[[], None], every_seconds: float) -> Iterator[None]:
    """Call `act` time after time while the block lasts, from a thread of its own."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(every_seconds):
            act()

    thread = threading.Thread(target=beat, name="now and then", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def clock(seconds: float) -> str:
    """`0:01:05`."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def say(console: Console, text: str) -> None:
    """A line as it is: names of files are no markup, and do not steer the terminal."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
