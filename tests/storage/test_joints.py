"""The joint between two segments does not show in a lossily coded picture: it is a keyframe like any other."""

from __future__ import annotations

from pathlib import Path

import ffmpeg
import numpy as np
import pytest

from storage.encoding import EncodeSettings
from storage.reader import read_frames
from storage.store import Store
from tests.media import encode_segments, shards_of, whole
from tests.zoo.checks import frame_lumas, luma_psnr
from tests.zoo.specimen import write

_FRAMES_BESIDE = 3


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_frames_beside_a_joint_are_no_worse_than_the_worst_elsewhere(codec: str, tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    grainy = ffmpeg.input("mandelbrot=size=128x96:rate=25", f="lavfi", t=3).filter("noise", alls=6, allf="t")
    write(source, [grainy.filter("format", "yuv420p")], vcodec="libx264", crf=8, preset="veryfast")
    settings = EncodeSettings.model_validate({"codec": codec, "preset": "fast", "crf": 25})
    original = [frame.to_ndarray()[: frame.height] for frame in read_frames(whole(source), Store())]
    pieces = [frame_lumas(path) for path in encode_segments(shards_of(source, 0.5), tmp_path / "cut", settings)]
    (at_once,) = (frame_lumas(path) for path in encode_segments(shards_of(source, 600), tmp_path / "whole", settings))
    joined = [frame for piece in pieces for frame in piece]
    quality = [luma_psnr(before, after) for before, after in zip(original, joined, strict=True)]
    uncut = [luma_psnr(before, after) for before, after in zip(original, at_once, strict=True)]
    joints = np.cumsum([len(piece) for piece in pieces])[:-1]
    beside = {int(at) + step for at in joints for step in range(-_FRAMES_BESIDE, _FRAMES_BESIDE)}
    assert len(joints) >= 4
    assert min(quality[at] for at in beside) > min(uncut) - 0.5
    assert abs(np.mean(quality) - np.mean(uncut)) < 0.5
