import os
import signal
from contextlib import ExitStack

from flows.signals import ENDING, heed


def test_signals_are_heeded_until_the_stack_closes_and_what_is_ignored_stays_so() -> None:
    told: list[int] = []
    before = {number: signal.getsignal(number) for number in ENDING}
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with ExitStack() as stack:
            heed(stack, lambda number, frame: told.append(number), *ENDING)
            for number in ENDING:
                os.kill(os.getpid(), number)
        assert told == [signal.SIGTERM]
        assert [signal.getsignal(number) for number in ENDING] == [signal.SIG_DFL, signal.SIG_IGN]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
