"""A limit on what a worker may take for one part of a shard; one that hangs is ended.

The end is SIGALRM's: its default action ends a process wherever it is, also in C code that never returns to Python,
where neither a thread nor a handler would run. Ray then starts the worker anew and repeats the shard, a bounded number
of times; a shard that hangs every time is lost, and its video's row says so.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")

PART_SECONDS = 2400.0
"""For a part of a shard of the default length, unless a job says otherwise."""


@contextmanager
def ends_process_after(seconds: float) -> Iterator[None]:
    """End this process, at once and without a word, when the block takes longer than `seconds` of wall-clock time."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def each_within(seconds: float, items: Iterator[Item]) -> Iterator[Item]:
    """The items, each of which may take `seconds` to make. What their taker does in between does not count."""
    while True:
        with ends_process_after(seconds):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
