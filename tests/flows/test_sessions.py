"""What a killed command leaves of its Ray session is removed by the next one; what anyone else has stays."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from flows import cluster
from flows.cluster import ray_session
from flows.sessions import keep, mark, sweep
from storage.errors import DestinationError, FacemillError, UsageError


def session(folder: Path, name: str) -> Path:
    made = folder / f"session_{name}"
    (made / "logs").mkdir(parents=True)
    (made / "logs" / "gcs_server.out").write_text("a log")
    return made


def test_only_sessions_of_commands_that_have_ended_are_removed(tmp_path: Path) -> None:
    dead, alive, kept, foreign = (session(tmp_path, name) for name in ("dead", "alive", "kept", "foreign"))
    (tmp_path / "session_latest").symlink_to(alive)
    locks = {each: mark(each) for each in (dead, alive, kept)}
    keep(kept)
    for ended in (dead, kept):  # as the end of their process does
        os.close(locks[ended] or 0)
    sweep(tmp_path)
    assert [path.is_dir() for path in (dead, alive, kept, foreign)] == [False, True, True, True]
    os.close(locks[alive] or 0)
    sweep(tmp_path)
    assert not alive.exists()


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (None, False),
        (UsageError("--device cuda"), False),
        (DestinationError("no right to write"), False),
        (KeyboardInterrupt(), False),
        (FacemillError("Ray gave the job up"), True),
        (ZeroDivisionError("a fault of facemill's"), True),
    ],
)
def test_logs_stay_where_they_may_tell_more(
    error: BaseException | None, stays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself is not started: it takes seconds, and its logs are what is in the folder that it names."""
    folder = session(tmp_path, "now")
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(cluster, "_start_here", lambda: folder)
    with suppress(BaseException), ray_session(None):
        if error is not None:
            raise error
    assert folder.exists() == stays
    sweep(tmp_path)
    assert folder.exists() == stays
    shutil.rmtree(folder, ignore_errors=True)
