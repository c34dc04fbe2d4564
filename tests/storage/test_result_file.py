"""By what a result is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av

from storage.containers import choose_container
from storage.probe import probe_video
from storage.result_file import is_long
from storage.store import Store
from tests.media import Audio, Clip, make_video


def _expects(name: str, seconds: int, tmp_path: Path, *audio: str) -> bool:
    """Whether a result of so many seconds, beside sound of these codecs, is written in bounded memory."""
    source = make_video(tmp_path / name, Clip(frames=2, audio=tuple(Audio(codec, seconds=0.1) for codec in audio)))
    probe = probe_video(str(source), Store())
    probe = replace(probe, duration=int(seconds / probe.time_base))
    with av.open(str(source)) as container:
        return is_long(choose_container(probe, name, "h264"), probe, container, 25 * seconds)


def test_long_results_are_written_so_where_all_packets_stay_as_they_are(tmp_path: Path) -> None:
    assert not _expects("a.mp4", 1200, tmp_path, "aac")
    assert _expects("a.mp4", 1500, tmp_path, "aac")
    assert _expects("a.mov", 1500, tmp_path, "pcm_s16le")
    assert not _expects("a.mp4", 1500, tmp_path, "aac", "libopus")  # whose tables have one more
    assert not _expects("a.mkv", 1500, tmp_path, "aac")
