"""A clip to try facemill on, made here: a real face at two sizes, moving, with sound, compressed as archives are."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from rich.console import Console

from flows.config import load_config
from flows.steps import step
from storage.errors import FacemillError, UsageError
from storage.folders import open_folder

SIZE = (640, 360)
RATE = 25
SAMPLE_RATE = 48000
SECONDS = 4

_FACE_CENTRE = np.array([224.0, 116.0])
"""Of the portrait's face, pixels of the 512 x 512 photograph."""

_TILE = 400
"""Side of one face in the before-and-after picture, pixels."""

_PORTRAITS = ((0.75, (172, 100)), (1.35, (480, 165)))
"""(scale of the photograph, place of the face in the frame): a face for Expert-T and one for Expert-F."""


def run_demo(folder: Path, console: Console) -> None:
    """Make the clip, restore it by the main job, and print where to look.

    Args:
        folder: takes `clip.mp4` and the results under `restored/`.

    Raises:
        FacemillError: the folder cannot be written to, or the clip cannot be restored.
    """
    from flows.restore import restore

    open_folder(folder)
    clip, out = folder / "clip.mp4", folder / "restored"
    if not clip.exists():
        with step(console, f"making a clip of {SECONDS} s with two faces and sound"):
            make_clip(clip)
    config = load_config(
        None, {"sources": [str(clip)], "out": str(out), "compare": True, "preset": "veryfast", "shard_seconds": 1}
    )
    job, outcome = restore(config, console)
    if outcome.failed:
        raise FacemillError(next(iter(outcome.failed.values())))
    before_and_after(out / "clip.compare.mp4", SECONDS / 2, folder / "before_after.png")
    for what, path in (
        ("source", clip),
        ("result", out / "clip.mp4"),
        ("side by side", out / "clip.compare.mp4"),
        ("a picture of it", folder / "before_after.png"),
        ("what was done to every face", Path(job.area.url) / "faces.parquet"),
    ):
        console.print(f"{what:>28}: {path}", markup=False, highlight=False, soft_wrap=True)


def make_clip(path: Path, *, frames: int = SECONDS * RATE) -> None:
    """Write the demonstration clip: 640x360, 25 frames a second, H.264 at CRF 26 with AAC sound.

    The face is Eileen Collins, photographed by NASA, in the public domain; scikit-image carries the picture.

    Raises:
        UsageError: scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise UsageError("the demonstration's photograph is in scikit-image: pip install 'facemill[demo]'") from error

    photograph = np.asarray(data.astronaut())
    portraits = [_resized(photograph, scale) for scale, _ in _PORTRAITS]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "26", "preset": "medium"})
        audio = container.add_stream("aac", rate=SAMPLE_RATE)
        assert isinstance(video, VideoStream)
        assert isinstance(audio, AudioStream)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio.layout = "mono"
        container.metadata["title"] = "facemill demonstration"
        for number in range(frames):
            frame = VideoFrame.from_ndarray(picture(portraits, number / RATE), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for samples in _sound(frames / RATE):
            container.mux(audio.encode(samples))
        container.mux(audio.encode(None))


def _resized(photograph: np.ndarray, scale: float) -> np.ndarray:
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=method)


def picture(portraits: list[np.ndarray], seconds: float) -> np.ndarray:
    """(360, 640, 3) uint8 RGB: a tile for each portrait, swaying and nodding."""
    width, height = SIZE
    half = width // len(portraits)
    tiles = []
    for number, (portrait, (scale, (x, y))) in enumerate(zip(portraits, _PORTRAITS, strict=True)):
        phase = 2 * np.pi * (seconds / SECONDS + number / 3)
        centre = _FACE_CENTRE * scale
        matrix = cv2.getRotationMatrix2D(tuple(centre), 4 * np.sin(phase + 1), 1)
        matrix[:, 2] += (x - number * half, y) - centre + (10 * np.sin(phase), 5 * np.sin(2 * phase))
        tiles.append(
            cv2.warpAffine(portrait, matrix, (half, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        )
    return np.hstack(tiles)


def _sound(seconds: float) -> list[AudioFrame]:
    """A rising scale of soft tones, one every half second."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    step = np.floor(time * 2)
    tone = np.sin(2 * np.pi * 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12])[step.astype(int) % 8] / 12) * time)
    loudness = np.exp(-4 * (time * 2 - step))
    samples = (0.2 * tone * loudness).astype(np.float32)[None, :]
    frames = []
    for start in range(0, samples.shape[1], 1024):
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, start : start + 1024]), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        frames.append(frame)
    return frames


def before_and_after(compare: Path, seconds: float, target: Path) -> None:
    """Save the faces of one frame of the demonstration's comparison as a PNG: each scaled only, then restored.

    Args:
        compare: the comparison video of the clip at scale 2.
        seconds: time of the frame; a later one than the last raises UsageError.
    """
    with av.open(str(compare)) as container:
        for frame in container.decode(container.streams.video[0]):
            if frame.time is not None and frame.time >= seconds:
                cv2.imwrite(str(target), _face_tiles(frame.to_ndarray(format="bgr24")))
                return
    raise UsageError(f"{compare} has no frame at {seconds:g} s")


def _face_tiles(compared: np.ndarray) -> np.ndarray:
    """The two faces of a comparison frame, (H, W, 3) uint8, cut out of both of its halves, side by side."""
    halves = compared[:, : 2 * SIZE[0]], compared[:, -2 * SIZE[0] :]
    tiles = []
    for scale, (x, y) in _PORTRAITS:
        reach = round(150 * scale)
        rows, columns = slice(max(0, 2 * y - reach), 2 * y + reach), slice(2 * x - reach, 2 * x + reach)
        tiles += [cv2.resize(half[rows, columns], (_TILE, _TILE), interpolation=cv2.INTER_CUBIC) for half in halves]
    return np.hstack(tiles)
