"""What a packet tells of the pictures in it, without decoding them."""

from __future__ import annotations

from av.packet import Packet

from storage.nal_units import unit_type, units_in

_CODED_PICTURES = {"h264": range(1, 6), "hevc": range(32)}
"""nal_unit_type of what holds slices of a picture."""

_IDR = {"h264": (5,), "hevc": (19, 20)}
_VOP_START = b"\0\0\1\xb6"

MPEG4_B = 2
"""vop_coding_type of a B-frame."""


def repeats_a_frame(packet: Packet) -> bool:
    """Whether a packet is empty, which is how Theora and AVI say that the frame before stays; no decoder takes such.

    What a demuxer gives at its end, to flush the decoder, is empty too but has no time.
    """
    return packet.size == 0 and packet.dts is not None


class ClosedKeyframes:
    """Which keyframes end all that went before: nothing after one is shown before it, or needs what came before it.

    That is an IDR picture of H.264 or HEVC in Annex B form; in MPEG-4 a keyframe that no B-frame follows, in its own
    packet or in the next one. None of every other codec, where packets do not tell.
    """

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._waiting: int | None = None

    def found(self, packet: Packet, number: int) -> int | None:
        """Take the next packet; returns the number of the one that is now known for a closed keyframe.

        That is this packet or the one before, if any.
        """
        if self._codec != "mpeg4":
            return number if _is_idr(packet, self._codec) else None
        kinds = mpeg4_pictures(packet)
        known = None if kinds[:1] == [MPEG4_B] else self._waiting
        self._waiting = number if packet.is_keyframe and len(kinds) == 1 else None
        return known


def _is_idr(packet: Packet, codec: str) -> bool:
    if not packet.is_keyframe or codec not in _CODED_PICTURES:
        return False
    kinds = (unit_type(codec, unit) for unit in units_in(bytes(packet), None))
    first = next((kind for kind in kinds if kind in _CODED_PICTURES[codec]), None)
    return first in _IDR[codec]


def mpeg4_pictures(packet: Packet) -> list[int]:
    """vop_coding_type of each picture in a packet of MPEG-4 part 2: 0 to 3 for I, P, B and S."""
    return [part[0] >> 6 for part in bytes(packet).split(_VOP_START)[1:] if part]
