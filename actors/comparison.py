"""Baseline and result side by side, with a divider and labels: what `--compare` shows."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from av.video.frame import VideoFrame

from actors.colour import plane_views
from storage.encoding import OutputPicture

_DIVIDER = 8
"""Width of the line between the halves, pixels; a multiple of every chroma step."""


def compared_picture(picture: OutputPicture, rotation: int) -> OutputPicture:
    """The picture that holds two of `picture` and the divider, side by side after a player's `rotation`."""
    width, height = picture.width, picture.height
    if rotation % 180:
        height = 2 * height + _DIVIDER
    else:
        width = 2 * width + _DIVIDER
    return replace(picture, width=width, height=height)


def side_by_side(baseline: VideoFrame, result: VideoFrame, picture: OutputPicture, rotation: int) -> VideoFrame:
    """One frame of `compared_picture`: to a viewer the baseline is on the left, the result on the right.

    Args:
        rotation: degrees counter-clockwise that a player turns the frame, a multiple of 90.
    """
    joined = compared_picture(picture, rotation)
    turns = rotation // 90
    frame = VideoFrame(joined.width, joined.height, joined.pix_fmt)
    halves = zip(plane_views(frame), plane_views(baseline), plane_views(result), strict=True)
    for number, (plane, before, after) in enumerate(halves):
        left, right = np.rot90(before, turns), np.rot90(after, turns)
        upright = np.empty(np.rot90(plane, turns).shape, plane.dtype)
        upright[:, : left.shape[1]] = left
        upright[:, upright.shape[1] - right.shape[1] :] = right
        upright[:, left.shape[1] : upright.shape[1] - right.shape[1]] = _divider_level(picture.bits, number)
        if number == 0:
            _write(upright, "baseline", 0, picture.bits)
            _write(upright, "facemill", upright.shape[1] - right.shape[1], picture.bits)
        plane[:] = np.rot90(upright, -turns)
    frame.pts, frame.time_base, frame.duration = result.pts, result.time_base, result.duration
    return frame


def _divider_level(bits: int, plane: int) -> int:
    """White in the luma plane 0, no colour in the chroma planes."""
    return 235 << (bits - 8) if plane == 0 else 1 << (bits - 1)


def _write(luma: np.ndarray, text: str, left: int, bits: int) -> None:
    """White letters with a dark outline in the top left corner of the half that begins at `left`."""
    scale = max(0.5, luma.shape[0] / 900)
    line = max(1, round(2 * scale))
    (width, tall), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, line)
    pad = 2 * line + 4
    rows, columns = tall + below + 2 * pad, width + 2 * pad
    white = 235 << (bits - 8)
    for value, thickness in ((white // 14, 3 * line), (white, line)):
        letters = np.zeros((rows, columns), np.uint8)
        cv2.putText(letters, text, (pad, pad + tall), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
        area = luma[:rows, left : left + columns]
        share = letters[: area.shape[0], : area.shape[1]].astype(np.float32) / 255
        area[:] = np.rint(area * (1 - share) + value * share)
