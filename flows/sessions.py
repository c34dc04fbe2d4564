"""Folders of Ray sessions that killed commands have left, and their removal.

Ray keeps sockets, logs and what it spills in a folder a session, and removes none. facemill marks those of its own
commands, and holds the mark locked (`flock`) as long as the command lives: a mark that no process holds is a killed
command's. What has no mark is another program's, or was kept on purpose.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

_MARK = "facemill.lock"


def mark(session: Path) -> int | None:
    """Mark a session's folder as this process's; returns what holds the lock, None where there are no locks."""
    unlocked = session / f"{_MARK}.new"  # by its name nobody takes it for a mark before it is locked
    try:
        descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:  # a full disk, say: that is told by what is about to be done there
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlocked.rename(session / _MARK)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def keep(session: Path) -> None:
    """Let a session's folder stay when its process has ended."""
    (session / _MARK).unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the sessions in `folder` that are marked and held by no process any more, of this user only."""
    for found in folder.glob(f"session_*/{_MARK}"):
        with suppress(OSError):  # another process sweeps, too; another user's
            descriptor = os.open(found, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_uid == os.getuid():
                    shutil.rmtree(found.parent, ignore_errors=True)
            finally:
                os.close(descriptor)
