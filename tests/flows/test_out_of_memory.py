"""A machine whose memory is full all the time: the job ends, and says why, instead of trying for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.media import Clip, make_video


@pytest.mark.long
def test_what_rays_memory_monitor_kills_every_time_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    make_video(tmp_path / "in" / "a.mp4", Clip(frames=10))
    command = (sys.executable, "-m", "flows.cli", "restore", tmp_path / "in", "--out", tmp_path / "out")
    full = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "200"}
    done = subprocess.run(
        [*map(str, command), "--experts", "none"],
        env={**os.environ, **full},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 1
    told = " ".join((done.stdout + done.stderr).split())
    assert "failed: a.mp4: looking into it ended its worker" in told
    assert "too little memory" in told
