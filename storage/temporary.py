"""Folders for what is on its way to or from S3, and for what a join needs for a moment.

They end with the process that made them, however that ends.

A killed process leaves its folder, which may hold a whole video. Each folder is locked as long as its process lives,
and every process removes the ones that no lock holds before it makes its first. Where the folders cannot be locked
nothing tells who lives, so none is removed there but by its own process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from storage.storage_errors import room_in

_PREFIX = "facemill-scratch-"
_TRIES = 100


@contextmanager
def temporary_folder(*, alone: bool = True) -> Iterator[Path]:
    """A new, empty folder of this machine, removed at the end.

    Args:
        alone: whether nothing is written to elsewhere in the block, as of `room_in`.

    Raises:
        NoRoomError: the disk that it lies on is full.
    """
    sweep(Path(tempfile.gettempdir()))
    with room_in(tempfile.gettempdir()):
        folder, lock = _new_locked_folder()
    try:
        with room_in(tempfile.gettempdir(), alone=alone):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _new_locked_folder() -> tuple[Path, int | None]:
    """A new folder and the lock on it; None for the lock where there are no locks."""
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            lock = _locked(folder)
        except OSError:
            return folder, None
        if lock is not None and folder.exists():
            return folder, lock
        # Another process that sweeps came between the two calls.
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)
    raise OSError(f"{tempfile.gettempdir()}: folders made here are removed again and again")


@cache
def sweep(parent: Path) -> None:
    """Remove what killed processes left in `parent`; once a process, and of this user only."""
    with os.scandir(parent) as entries:
        left = [Path(entry.path) for entry in entries if entry.name.startswith(_PREFIX)]
    for folder in left:
        try:
            lock = _locked(folder)
        except OSError:
            return
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """A lock on a folder; None when another process has it, or the folder is gone, a link, or another user's.

    Raises:
        OSError: there are no locks here.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_uid == os.getuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    except BlockingIOError:
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
