"""The processes of a job, found by a mark in their environment and ended without a word."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "FACEMILL_CHAOS"
"""Variable in the environment of every process that belongs to one chaos test; children inherit it."""


@dataclass(frozen=True)
class Process:
    """A process that was alive a moment ago."""

    pid: int
    title: str
    """Its command line: what Ray calls it, for a worker."""

    @property
    def is_worker(self) -> bool:
        """Whether it works on something for Ray: an actor, or a task such as the joining of a video."""
        return self.title.startswith("ray::") and not self.title.startswith(("ray::IDLE", *_RAYS_OWN))

    @property
    def raylet_socket(self) -> str:
        """The socket by which a raylet is known; empty for any other process."""
        name, _, rest = self.title.partition("--raylet_socket_name=")
        return rest.partition(" ")[0] if name.rstrip().endswith("/raylet") else ""


_RAYS_OWN = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""They end with their raylet, and Ray gives them the look of workers."""


def marked(mark: str) -> list[Process]:
    """Every living process with this mark, in order of their titles."""
    folders = [folder for folder in Path("/proc").iterdir() if folder.name.isdecimal()]
    found = [Process(int(folder.name), title) for folder in folders if (title := _title(folder, mark))]
    return sorted(found, key=lambda process: (process.title, process.pid))


def _title(folder: Path, mark: str) -> str:
    """Command line of a process with this mark; empty for any other, and for one that has ended."""
    with suppress(OSError):
        if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
            return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def kill(process: Process, mark: str) -> bool:
    """SIGKILL a process, if it still is the one that was found; whether it was."""
    with _held(process.pid) as descriptor:
        if descriptor is None or not _title(Path(f"/proc/{process.pid}"), mark):
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            return True
    return False


@contextmanager
def _held(pid: int) -> Iterator[int | None]:
    """A descriptor that means this very process, also when its number is given to another."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def all_ended(mark: str, within_seconds: float) -> list[Process]:
    """Wait until no process has this mark; those that still live after so many seconds."""
    until = time.monotonic() + within_seconds
    while (left := marked(mark)) and time.monotonic() < until:
        time.sleep(0.5)
    return left
