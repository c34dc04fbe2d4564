"""Who is at work on a job: every run holds its record locked, as one of many; `--force` for a moment alone, and
`clean --unfinished` as long as it removes what the job has done.

To forget what a job has done, beside a run that goes by it, would let that run fail videos whose segments are gone. The
lock (`flock`) ends with its process, however that ends. It tells of the runs of this machine, and of others where they
share locks with the disk; in S3 and on disks without locks nothing tells.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from storage.errors import UsageError
from storage.receipts import WorkArea
from storage.store import is_remote


class RunLock:
    """A run's hold on the record of its job."""

    def __init__(self, descriptor: int | None, job: str) -> None:
        self._descriptor, self._job = descriptor, job

    def take_alone(self) -> None:
        """Hold the job alone.

        Raises:
            UsageError: another run holds it.
        """
        if not self.try_alone():
            raise UsageError(
                f"--force: another run of the job {self._job} is at work, or `facemill clean` removes what it has "
                "done. Wait for its end; beside another run, work without --force"
            )

    def try_alone(self) -> bool:
        """Hold the job alone, unless another run is known to be at work on it."""
        try:
            self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def share(self) -> None:
        """Hold the job beside others; waits while one holds it alone."""
        self._lock(fcntl.LOCK_SH)

    def _lock(self, how: int) -> None:
        if self._descriptor is None:
            return
        try:
            fcntl.flock(self._descriptor, how)
        except BlockingIOError:
            raise
        except OSError:
            return  # there are no locks here


def _opened(record: str) -> int | None:
    """The record, to be locked; None for one of another user that may not be read: then nothing tells.

    To hold a file alone, NFS asks for the right to write to it.
    """
    for mode in (os.O_RDWR, os.O_RDONLY):
        try:
            return os.open(record, mode)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT):
                raise  # no descriptor left, say: that nothing tells must not look like nobody
    return None


@contextmanager
def run_lock(area: WorkArea) -> Iterator[RunLock]:
    """The lock on a job that is on record, not taken yet; let go at the end of the block."""
    descriptor = None
    if not is_remote(area.url):
        descriptor = _opened(area.job_record)
    try:
        yield RunLock(descriptor, area.name)
    finally:
        if descriptor is not None:
            os.close(descriptor)
