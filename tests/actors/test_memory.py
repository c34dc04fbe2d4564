"""A shard that needs more memory than there is fails by itself, and says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.media import Clip, make_video

PROGRAM = """
import json, resource, sys
from actors.frame_compositor import FrameCompositor
from actors.work import ShardWork
from storage.encoding import EncodeSettings, SizeSettings
from storage.receipts import WorkArea
from storage.segments import pts_digest
from storage.store import Store
from tests.media import decoded_by_pyav, whole
from pathlib import Path

store, area = Store(), WorkArea(sys.argv[1])
compositor = FrameCompositor(store, area, SizeSettings(scale=4), EncodeSettings(preset="ultrafast"), ("restored",))
def receipt(path):
    pts = [at for at, _ in decoded_by_pyav(Path(path))]
    return compositor._receipt(ShardWork(whole(Path(path)), frames=len(pts), digest=pts_digest(pts)))
small, large = sys.argv[2:]
first = receipt(small)
(held,) = [int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmSize")]
resource.setrlimit(resource.RLIMIT_AS, (held + (300 << 20), -1))
print(json.dumps([[each.error, each.frames] for each in (first, receipt(large), receipt(small))]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds what a process may map")
def test_what_does_not_fit_into_memory_is_told_and_the_worker_goes_on(tmp_path: Path) -> None:
    small = make_video(tmp_path / "small.mp4", Clip(frames=3))
    large = make_video(tmp_path / "large.mkv", Clip(frames=1, size=(3000, 2000), codec="mjpeg", pix_fmt="yuvj420p"))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "job"), str(small), str(large)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr
    first, too_large, again = json.loads(ended.stdout.splitlines()[-1])
    assert first == again == ["", 3]
    assert too_large[0].startswith("memory ran out (")
    assert "on a larger machine" in too_large[0]
