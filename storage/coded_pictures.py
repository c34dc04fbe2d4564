"""What a packet tells of the pictures in it, without decoding them."""

from __future__ import annotations

from av.packet import Packet

from storage.nal_units import unit_type, units_in

_CODED_PICTURES = {"h264": range(1, 6), "hevc": range(32)}
"""nal_unit_type of what holds slices of a picture."""

_IDR = {"h264": (5,), "hevc": (19, 20)}
_VOP_START = b"\0\0\1\xb6"


def repeats_a_frame(packet: Packet) -> bool:
    """Whether a packet is empty, which is how Theora and AVI say that the frame before stays; no decoder takes such.

    What a demuxer gives at its end, to flush the decoder, is empty too but has no time.
    """
    return packet.size == 0 and packet.dts is not None


def is_closed_keyframe(packet: Packet, codec: str) -> bool:
    """Whether a packet holds a keyframe that ends all that went before: nothing after it is shown before it, or needs
    what came before it.

    It is an IDR picture of H.264 or HEVC in Annex B form; in MPEG-4, packed for AVI, a keyframe without a B-frame in
    its packet. False for every other codec, where a packet does not tell.
    """
    if not packet.is_keyframe:
        return False
    if codec == "mpeg4":
        return pictures_in(packet, codec) == 1
    if codec not in _CODED_PICTURES:
        return False
    kinds = (unit_type(codec, unit) for unit in units_in(bytes(packet), None))
    first = next((kind for kind in kinds if kind in _CODED_PICTURES[codec]), None)
    return first in _IDR[codec]


def pictures_in(packet: Packet, codec: str) -> int:
    """How many pictures a packet of MPEG-4 part 2 holds; 1 for every other codec."""
    return bytes(packet).count(_VOP_START) if codec == "mpeg4" else 1
