"""A worker that hangs is ended, wherever it hangs; one that is only slow between two parts is not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from actors.deadline import each_within, ends_process_after

HANGS = {
    "in Python": "while True: pass",
    "asleep": "import time; time.sleep(60)",
    "in C, with the interpreter's lock": "import re; re.match('(a+)+$', 'a' * 60 + 'b')",
}


@pytest.mark.parametrize("where", HANGS)
def test_a_process_that_hangs_is_ended(where: str) -> None:
    program = f"from actors.deadline import ends_process_after\nwith ends_process_after(0.2):\n    {HANGS[where]}"
    ended = subprocess.run([sys.executable, "-c", program], timeout=30, check=False)
    assert ended.returncode == -signal.SIGALRM


def test_time_between_two_parts_does_not_count() -> None:
    def parts() -> Iterator[int]:
        yield from range(3)

    taken = []
    for part in each_within(0.2, parts()):
        time.sleep(0.3)
        taken.append(part)
    assert taken == [0, 1, 2]


def test_nothing_is_ended_after_an_error() -> None:
    with pytest.raises(ValueError, match="x"), ends_process_after(0.1):
        raise ValueError("x")
    time.sleep(0.2)
