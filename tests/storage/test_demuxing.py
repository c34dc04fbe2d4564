"""All packets of a container come out, whatever appears on the way."""

from __future__ import annotations

from pathlib import Path

import av

from storage.demuxing import demuxed
from storage.reader import read_frames
from storage.store import Store
from tests.media import Audio, Clip, make_video, whole

TEXT = b"\2\0\x0aonTextData\x08\0\0\0\2\0\4type\2\0\4Text\0\4text\2\0\2hi\0\0\x09"
"""An AMF object that FLV carries as a caption: FFmpeg makes it a stream of its own."""


def _with_a_late_caption(path: Path) -> Path:
    """An FLV in which a stream of captions appears only near the end."""
    content = make_video(path, Clip(frames=400, audio=(Audio("libmp3lame", seconds=16),))).read_bytes()
    at = 13
    while at < len(content) * 3 // 4:
        at += 11 + int.from_bytes(content[at + 1 : at + 4], "big") + 4
    tag = b"\x12" + len(TEXT).to_bytes(3, "big") + content[at + 4 : at + 8] + bytes(3) + TEXT
    path.write_bytes(content[:at] + tag + len(tag).to_bytes(4, "big") + content[at:])
    return path


def test_a_stream_that_appears_midway_ends_nothing(tmp_path: Path) -> None:
    path = _with_a_late_caption(tmp_path / "a.flv")
    with av.open(str(path)) as container:
        assert len(container.streams) == 2
        found = [packet.stream_index for packet in demuxed(container) if packet.size]
    assert found.count(0) == 400
    assert found.count(1) > 600
    assert len(list(read_frames(whole(path), Store()))) == 400
