"""The background: a frame of its own memory, so that what is blended into it shows in no other."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from actors.background import upscale
from actors.colour import plane_views
from storage.encoding import SizeSettings, output_picture
from storage.probe import probe_video
from storage.store import Store
from tests.media import Clip, make_video


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le"])
def test_two_backgrounds_of_one_frame_and_the_frame_itself_share_nothing(
    tmp_path: Path, scale: int, pix_fmt: str
) -> None:
    path = make_video(tmp_path / "a.mp4", Clip(frames=2, pix_fmt=pix_fmt))
    probe = probe_video(str(path), Store())
    picture = output_picture(probe, SizeSettings(scale=scale))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    source = [plane.copy() for plane in plane_views(frame)]
    baseline, restored = (upscale(frame, probe, picture) for _ in range(2))
    before = [plane.copy() for plane in plane_views(baseline)]
    for plane in plane_views(restored):
        plane[:] = 7
    for found, wanted in zip(plane_views(baseline), before, strict=True):
        np.testing.assert_array_equal(found, wanted)
    for found, wanted in zip(plane_views(frame), source, strict=True):
        np.testing.assert_array_equal(found, wanted)
    if scale == 1:
        for found, wanted in zip(before, source, strict=True):
            np.testing.assert_array_equal(found, wanted)
