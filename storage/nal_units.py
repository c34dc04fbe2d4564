"""NAL units of H.264 and HEVC: where each begins and ends, what kind it is, and its content.

Two forms carry them: behind start codes (Annex B of ITU-T H.264 and H.265), in transport and raw streams; behind their
lengths, in MP4 and Matroska, whose header keeps the parameter sets (avcC and hvcC of ISO/IEC 14496-15).
"""

from __future__ import annotations

from collections.abc import Iterator

START_CODE = b"\0\0\1"

_LENGTH_SIZE_AT = {"h264": 4, "hevc": 21}
"""Byte of avcC and hvcC whose lowest two bits tell the bytes of a length, less one."""


def length_size(codec: str, extradata: bytes) -> int | None:
    """Bytes of the length before each unit, 1 to 4, by a stream's header; None where start codes part them."""
    at = _LENGTH_SIZE_AT.get(codec)
    if at is None or len(extradata) <= at or extradata[0] != 1:
        return None
    return (extradata[at] & 3) + 1


def units_in(content: bytes, length_bytes: int | None) -> Iterator[bytes]:
    """The units of a packet, in order, each from its header on; the last one is short when the packet is cut.

    Args:
        content: of the packet.
        length_bytes: as `length_size` tells.
    """
    return _behind_start_codes(content) if length_bytes is None else _behind_lengths(content, length_bytes)


def unit_type(codec: str, unit: bytes) -> int:
    """nal_unit_type; -1 of an empty unit."""
    if not unit:
        return -1
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def payload_of(unit: bytes) -> bytes:
    """What follows the header of an H.264 unit, the bytes taken out that keep it free of start codes (7.3.1)."""
    return unit[1:].replace(b"\0\0\3", b"\0\0")


def sequence_sets_of_avcc(extradata: bytes) -> Iterator[bytes]:
    """The sequence parameter sets in an avcC box."""
    at = 6
    for _ in range(extradata[5] & 31 if len(extradata) > 5 else 0):
        size = int.from_bytes(extradata[at : at + 2], "big")
        yield extradata[at + 2 : at + 2 + size]
        at += 2 + size


def _behind_start_codes(content: bytes) -> Iterator[bytes]:
    """Without the zeros that may follow a unit: the fourth byte of a long start code is one of them."""
    at = content.find(START_CODE)
    while at >= 0:
        end = content.find(START_CODE, at + 3)
        yield content[at + 3 : end if end >= 0 else len(content)].rstrip(b"\0")
        at = end


def _behind_lengths(content: bytes, length_bytes: int) -> Iterator[bytes]:
    at = 0
    while at + length_bytes < len(content):
        size = int.from_bytes(content[at : at + length_bytes], "big")
        at += length_bytes
        yield content[at : at + size]
        at += size
