"""Whether a Ray of this machine has room for its temporary files: sockets, logs, and what it spills.

Without it Ray does not stop. Its workers end as they start, and are started anew, for ever.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from flows.steps import now_and_then
from storage.errors import FacemillError, NoRoomError

LOG_FOLDER = "RAY_TMPDIR"
"""Where Ray shall put the folders of its sessions, `ray/session_*`."""

TO_BEGIN_BYTES = 200 << 20
TO_GO_ON_BYTES = 1 << 20

_LOOKED_AT_EVERY_SECONDS = 5.0


def require_room(least: int) -> None:
    """Raise NoRoomError when fewer than so many bytes are left for Ray's temporary files."""
    if told := _lack_of(least):
        raise NoRoomError(told)


def _lack_of(least: int) -> str:
    """What a person is told of too little room; empty when there is enough."""
    folder = os.environ.get(LOG_FOLDER) or tempfile.gettempdir()
    if not os.path.isdir(folder):
        return ""  # Ray makes it
    free = shutil.disk_usage(folder).free
    if free >= least:
        return ""
    return (
        f"{folder}: {free / 1e6:.0f} MB are left on the disk with Ray's temporary files, which is too little. Make "
        f"room there, or set {LOG_FOLDER} to a folder that has some, and run the same command again"
    )


class _RoomUsedUp(BaseException):
    """Raised wherever the main thread is: nothing on its way may take it for the fault of what it was at."""


@contextmanager
def room_watched() -> Iterator[None]:
    """End the block when there is no room left: whatever it waits for then would not come.

    By a signal to the main thread, time after time until the block has ended.

    Raises:
        FacemillError: there was none. Not NoRoomError, after which Ray is still asked for what it has begun.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no other thread can be told by a signal
        return
    ended = threading.Event()

    def told(number: int, frame: FrameType | None) -> None:
        if not ended.is_set() and (lack := _lack_of(TO_GO_ON_BYTES)):
            raise _RoomUsedUp(lack)

    def look() -> None:
        if _lack_of(TO_GO_ON_BYTES):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, told)
    try:
        with now_and_then(look, _LOOKED_AT_EVERY_SECONDS):
            try:
                yield
            finally:
                ended.set()  # before the watch is waited for, so that it ends this block no more
    except _RoomUsedUp as used_up:
        raise FacemillError(str(used_up)) from None
    finally:
        signal.signal(signal.SIGUSR1, before)
