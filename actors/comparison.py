"""Baseline and result side by side, with a divider and labels: what `--compare` shows."""

from __future__ import annotations

import cv2
import numpy as np
from av.video.frame import VideoFrame

from actors.colour import plane_views
from storage.encoding import OutputPicture

_DIVIDER = 8
"""Width of the line between the halves, pixels; a multiple of every chroma step."""


def compared_picture(picture: OutputPicture) -> OutputPicture:
    """The picture that holds two of `picture` and the divider."""
    return OutputPicture(2 * picture.width + _DIVIDER, picture.height, picture.pix_fmt, picture.sample_aspect_ratio)


def copy_frame(frame: VideoFrame) -> VideoFrame:
    """A frame of its own memory with the same picture and time."""
    copied = VideoFrame(frame.width, frame.height, frame.format.name)
    for target, source in zip(plane_views(copied), plane_views(frame), strict=True):
        target[:] = source
    copied.pts, copied.time_base, copied.duration = frame.pts, frame.time_base, frame.duration
    return copied


def side_by_side(baseline: VideoFrame, result: VideoFrame, picture: OutputPicture) -> VideoFrame:
    """One frame of `compared_picture(picture)`: the baseline on the left, the result on the right."""
    joined = compared_picture(picture)
    frame = VideoFrame(joined.width, joined.height, joined.pix_fmt)
    halves = zip(plane_views(frame), plane_views(baseline), plane_views(result), strict=True)
    for number, (plane, left, right) in enumerate(halves):
        neutral = 1 << (8 * plane.itemsize - (6 if plane.itemsize == 2 else 0) - 1)
        divider = slice(left.shape[1], plane.shape[1] - right.shape[1])
        plane[:, : left.shape[1]] = left
        plane[:, plane.shape[1] - right.shape[1] :] = right
        plane[:, divider] = (2 * neutral - 1) * 235 // 255 if number == 0 else neutral
    luma = plane_views(frame)[0]
    _write(luma, "baseline", 0, picture.height)
    _write(luma, "facemill", picture.width + _DIVIDER, picture.height)
    frame.pts, frame.time_base, frame.duration = result.pts, result.time_base, result.duration
    return frame


def _write(luma: np.ndarray, text: str, left: int, height: int) -> None:
    """White letters with a dark outline in the top left corner of the half that begins at `left`."""
    scale = max(0.5, height / 900)
    line = max(1, round(2 * scale))
    (width, tall), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, line)
    pad = 2 * line + 4
    rows, columns = tall + below + 2 * pad, width + 2 * pad
    white = 235 << (2 if luma.itemsize == 2 else 0)
    for value, thickness in ((white // 14, 3 * line), (white, line)):
        letters = np.zeros((rows, columns), np.uint8)
        cv2.putText(letters, text, (pad, pad + tall), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
        area = luma[:rows, left : left + columns]
        share = letters[: area.shape[0], : area.shape[1]].astype(np.float32) / 255
        area[:] = np.rint(area * (1 - share) + value * share)
