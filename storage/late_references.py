"""Frames in the order of showing, of decoders that give them in another behind a loss.

The decoders of MPEG-1 and MPEG-2 hold one frame back: that which B-frames may refer to, until the next such comes.
B-frames they give at once. When the next one is lost, the B-frames between come out before the frame that is held:

    coded      I2  B0  B1  (P5 is lost)  B3  B4  P8
    given      B0  B1  B3  B4  I2
    shown      B0  B1  I2  B3  B4

And a decoder that begins at I2 gives no B3 and B4 at all, since it has no other frame that they refer to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from av.packet import Packet
from av.video.frame import PictureType, VideoFrame

HOLD_A_REFERENCE = frozenset(("mpeg1video", "mpeg2video"))
"""FFmpeg's names of such decoders. That of MPEG-4 part 2 is none: it tells by the B-frames that something lacks, and
leaves them out wherever it begins."""

_MOST_WAITING = 32
"""B-frames that wait for the frame that is held. Codecs take a few in a row; behind a loss they may be a GOP's."""


def in_order_of_showing(frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
    """The frames of such a decoder, each that was held before the B-frames that are shown after it.

    Only it moves, and by stamps that it and the B-frames have: frames whose clock steps back stay in their order.
    """
    waiting: list[VideoFrame] = []
    for frame in frames:
        if frame.pict_type == PictureType.B:
            waiting.append(frame)
            if len(waiting) > _MOST_WAITING:
                yield waiting.pop(0)
            continue
        yield from _with_held(frame, waiting)
        waiting = []
    yield from waiting


def _with_held(held: VideoFrame, waiting: list[VideoFrame]) -> list[VideoFrame]:
    """The frame that was held, put among the B-frames that were given before it."""
    place = len(waiting)
    if held.pts is not None:
        later = (at for at, frame in enumerate(waiting) if frame.pts is not None and frame.pts > held.pts)
        place = next(later, place)
    return [*waiting[:place], held, *waiting[place:]]


class MidwayStart:
    """Where frames are the same as if reading had begun earlier: not yet at a keyframe behind which B-frames lack."""

    def __init__(self) -> None:
        self._fed: list[int | None] | None = []

    def noted(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """The packets, on their way to the decoder; the first is the keyframe that reading begins with."""
        for packet in packets:
            if self._fed is not None:
                self._fed.append(packet.pts)
            yield packet

    def whole(self, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        """Their frames; without the keyframe's where frames right after it were left out."""
        first = next(frames, None)
        if first is None:
            return
        keyframe, *others = self._fed or [None]
        self._fed = None
        # The last packet is the next one that others refer to: with it the keyframe came out.
        if not (first.pts == keyframe is not None and any(pts is not None and pts > keyframe for pts in others[:-1])):
            yield first
        yield from frames
