"""Signals that end a command."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Of a scheduler, and of a terminal that is closed."""


def heed(stack: ExitStack, handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> None:
    """Handle signals until the stack closes. What is ignored, as SIGHUP under nohup, stays ignored."""
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            before = signal.signal(number, handler)
            stack.callback(signal.signal, number, signal.SIG_DFL if before is None else before)
