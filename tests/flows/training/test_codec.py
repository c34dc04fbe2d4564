from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flows.training.codec import CodecName, compress_frames, quantiser_for_crf
from flows.training.portraits import Face

CODECS: tuple[CodecName, ...] = ("h264", "hevc", "mpeg4")


def clip(face: Face, frames: int = 4) -> list[NDArray[np.uint8]]:
    small = cv2.resize(face.pixels_rgb, (96, 112), interpolation=cv2.INTER_AREA)
    return [np.asarray(np.roll(small, step, axis=1), np.uint8) for step in range(frames)]


def error(decoded: list[NDArray[np.uint8]], frames_rgb: list[NDArray[np.uint8]]) -> float:
    return float(np.mean((np.stack(decoded).astype(float) - np.stack(frames_rgb)) ** 2))


@pytest.mark.parametrize("codec", CODECS)
def test_every_frame_comes_back_in_order_and_worse(face: Face, codec: CodecName) -> None:
    frames_rgb = clip(face)
    decoded = compress_frames(frames_rgb, codec, 30)
    assert [frame.shape for frame in decoded] == [frame.shape for frame in frames_rgb]
    nearest = [int(np.argmin([error([frame], [other]) for other in frames_rgb])) for frame in decoded]
    assert nearest == [0, 1, 2, 3]
    assert error(decoded, frames_rgb) > 1


@pytest.mark.parametrize("codec", CODECS)
def test_a_higher_crf_loses_more(face: Face, codec: CodecName) -> None:
    frames_rgb = clip(face)
    losses = [error(compress_frames(frames_rgb, codec, crf), frames_rgb) for crf in (23, 30, 38)]
    assert losses == sorted(losses)
    assert losses[2] > 2 * losses[0]


def test_the_mpeg4_quantiser_doubles_every_six_and_stays_in_range() -> None:
    assert [quantiser_for_crf(crf) for crf in (23, 29, 35)] == [4, 8, 16]
    assert quantiser_for_crf(0) == 1
    assert quantiser_for_crf(51) == 31


def test_odd_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="63x48"):
        compress_frames([np.zeros((48, 63, 3), np.uint8)], "h264", 28)
