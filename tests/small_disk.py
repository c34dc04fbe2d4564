"""A real disk of a given size, where tests may mount one: it fills up as any other does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SmallDisk:
    """A mounted filesystem."""

    path: Path

    def resize(self, kilobytes: int) -> None:
        """Make room, or take it."""
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", self.path], check=True)

    def fill(self) -> None:
        """Write until nothing more goes in."""
        with (self.path / "others").open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))


@contextmanager
def small_disk(path: Path, kilobytes: int) -> Iterator[SmallDisk]:
    """Mount an empty disk at `path`, which is made; skips the test where nobody may."""
    path.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(path)]
    try:
        mounted = subprocess.run(mounting, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"a disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", path], check=True)
