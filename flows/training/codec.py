"""Real video codecs as a degradation: frames go through an encoder and a decoder in memory."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

CodecName = Literal["h264", "hevc", "mpeg4"]

_ENCODERS: dict[CodecName, str] = {"h264": "libx264", "hevc": "libx265", "mpeg4": "mpeg4"}
_X265_QUIET_ON_ONE_THREAD = "log-level=none:pools=none:frame-threads=1"


def quantiser_for_crf(crf: float) -> int:
    """The MPEG-4 part 2 quantiser (1 to 31) that loses about what x264 does at a CRF: 23 -> 4, 38 -> 23.

    Both scales double their step size every 6 CRF units (H.264's quantiser is logarithmic, MPEG-4's is
    linear).
    """
    return int(np.clip(round(4 * 2.0 ** ((crf - 23) / 6)), 1, 31))


def compress_frames(
    frames_rgb: Sequence[NDArray[np.uint8]], codec: CodecName, crf: float, *, preset: str = "veryfast"
) -> list[NDArray[np.uint8]]:
    """Encode frames as one 4:2:0 stream and decode them again.

    Args:
        frames_rgb: (H, W, 3) uint8 each, of one size, H and W even, in presentation order.
        codec: H.264 (x264), HEVC (x265) or MPEG-4 part 2.
        crf: constant rate factor, 0 to 51; for MPEG-4 its equivalent quantiser.
        preset: speed preset of x264 and x265.

    Returns:
        The decoded frames, same number, order, shape and dtype. The first is an I frame, later ones P or B.

    Raises:
        ValueError: a side is odd.
    """
    height, width = frames_rgb[0].shape[:2]
    if height % 2 or width % 2:
        raise ValueError(f"frames of {width}x{height} px cannot be 4:2:0; both sides must be even")
    encoder = _encoder(codec, width, height, crf, preset)
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    packets = []
    for pts, frame_rgb in enumerate(frames_rgb):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_rgb), format="rgb24")
        frame = frame.reformat(format="yuv420p")
        frame.pts = pts
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoded = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    return [frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False) for frame in decoded]


def _encoder(codec: CodecName, width: int, height: int, crf: float, preset: str) -> VideoCodecContext:
    encoder = av.CodecContext.create(_ENCODERS[codec], "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(25), Fraction(1, 25)
    encoder.thread_count = 1
    if codec == "mpeg4":
        # PyAV cannot ask for a fixed quantiser (it is a field of each frame), so the range has one value.
        quantiser = str(quantiser_for_crf(crf))
        encoder.options = {"qmin": quantiser, "qmax": quantiser}
    else:
        encoder.options = {"crf": f"{crf:.1f}", "preset": preset}
    if codec == "hevc":
        encoder.options = {**encoder.options, "x265-params": _X265_QUIET_ON_ONE_THREAD}
    return encoder
