"""Temporary folders do not outlive their process, and nobody else's are touched."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from storage import temporary
from storage.temporary import sweep, temporary_folder

KILLED = """
import os
from storage.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "segment.mp4").write_bytes(b"x")
    os._exit(9)
"""


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's temporary folder, for this process and for those that it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    sweep.cache_clear()
    return tmp_path


def test_a_folder_is_there_for_the_block_and_gone_after_it(parent: Path) -> None:
    with temporary_folder() as folder:
        (folder / "a").write_bytes(b"x")
        assert folder.parent == parent
    assert list(parent.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_process_and_what_lives_stays(parent: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED], check=False, timeout=120)
    (left,) = parent.iterdir()
    assert (left / "segment.mp4").exists()
    (parent / "somebody-elses").mkdir()
    with temporary_folder() as mine:
        assert not left.exists()
        sweep.cache_clear()
        sweep(parent)
        assert {path.name for path in parent.iterdir()} == {mine.name, "somebody-elses"}


def test_a_link_is_not_followed(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "a").write_bytes(b"x")
    link = parent / f"{temporary._PREFIX}link"
    link.symlink_to(elsewhere)
    assert temporary._locked(link) is None
    sweep(parent)
    assert (elsewhere / "a").exists()


def test_another_users_folder_stays(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = parent / f"{temporary._PREFIX}theirs"
    theirs.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(os, "getuid", lambda: theirs.stat().st_uid + 1)
        sweep(parent)
    assert theirs.exists()
    sweep.cache_clear()
    sweep(parent)
    assert not theirs.exists()


def test_where_there_are_no_locks_a_folder_is_made_and_none_is_swept(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    others = parent / f"{temporary._PREFIX}others"
    others.mkdir()
    monkeypatch.setattr(fcntl, "flock", refused)
    with temporary_folder() as folder:
        assert set(parent.iterdir()) == {others, folder}
    assert list(parent.iterdir()) == [others]


def test_a_folder_that_another_process_holds_is_not_left_behind(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that sweeps, and is slow, does."""

    def held(*_: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(fcntl, "flock", held)
    with pytest.raises(OSError, match="again and again"), temporary_folder():
        pass
    assert list(parent.iterdir()) == []


def test_a_folder_that_is_swept_before_it_is_locked_is_made_again(parent: Path) -> None:
    ended = threading.Event()

    def sweep_again_and_again() -> None:
        while not ended.is_set():
            sweep.__wrapped__(parent)

    sweeping = threading.Thread(target=sweep_again_and_again)
    sweeping.start()
    try:
        for _ in range(100):
            with temporary_folder() as folder:
                (folder / "a").write_bytes(b"x")
    finally:
        ended.set()
        sweeping.join()
