"""A worker's log tells what it was at, in lines that nothing in a name can break."""

from __future__ import annotations

import re

import pytest

from actors.work_log import tell
from storage.catalogue import Source
from storage.shards import PtsRange
from storage.store import FileIdentity


def test_a_line_names_stage_range_and_video(capsys: pytest.CaptureFixture[str]) -> None:
    source = Source("/in/a", 'of "two"\nlines.mp4', FileIdentity(1, "1"))
    tell("FaceDetector", "begins", source, PtsRange(None, 12800))
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r'facemill \S+ FaceDetector begins begin_12800 of "of \\"two\\"\\nlines\.mp4"', line)
