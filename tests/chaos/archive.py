"""A small archive from a seed: a video with a real face that moves for each expert, and one without."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from skimage import data

from tests.media import Audio, Clip, make_video

RATE = 25
_FACE = np.array([224.0, 116.0])
"""Centre of the face in the photograph of Eileen Collins (NASA, public domain) that scikit-image carries, pixels."""

_FACE_VIDEOS = {"t": ("small.mp4", (224, 176), 0.75), "f": ("deep/medium.mp4", (320, 240), 1.35)}
"""Expert -> (name, size, scale of the photograph): a face 66 px wide for Expert-T, and one of 119 px for Expert-F."""


def make_archive(folder: Path, seed: int, frames: int, experts: str = "both") -> list[str]:
    """Write the archive; returns the videos' paths below `folder`.

    Args:
        frames: of each video, at 25 frames a second.
        experts: those that get a face: `t`, `f` or `both`.
    """
    chance = np.random.default_rng(seed)
    (folder / "deep").mkdir(parents=True)
    faces = [video for expert, video in _FACE_VIDEOS.items() if experts in (expert, "both")]
    for name, size, scale in faces:
        _write_face(folder / name, size, scale, chance.uniform(0, 2 * np.pi, 3), frames)
    sound = (Audio(seconds=frames / RATE, language="deu"), Audio("mp2", seconds=frames / RATE))
    lines = ((0.1, 0.5, f"line of {seed}"),)
    faceless = Clip(frames, b_frames=2, muxer="matroska", audio=sound, subtitles=lines, seed=seed)
    make_video(folder / "faceless.mkv", faceless)
    return [*(name for name, _, _ in faces), "faceless.mkv"]


def _write_face(path: Path, size: tuple[int, int], scale: float, phases: np.ndarray, frames: int) -> None:
    """A face that sways and nods from the places that the phases tell."""
    portrait = cv2.resize(np.asarray(data.astronaut()), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    middle = np.array(size) / 2
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "26", "preset": "veryfast"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            sway, nod, turn = np.sin(2 * np.pi * number / (2 * RATE) + phases)
            matrix = cv2.getRotationMatrix2D(tuple(_FACE * scale), 4 * turn, 1)
            matrix[:, 2] += middle - _FACE * scale + (10 * sway, 5 * nod)
            picture = cv2.warpAffine(portrait, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            container.mux(stream.encode(VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
