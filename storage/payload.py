"""What a packet holds, with or without the framing that its container asks for.

The same AAC frame stands bare in MP4 and behind an ADTS header in MPEG-TS. The same H.264 picture is a list of NAL
units behind lengths in one, and behind start codes in the other, with parameter sets that the first keeps in its
header.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from av.packet import Packet
from av.stream import Stream

PayloadReader = Callable[[Packet], bytes]

_START_CODE = b"\0\0\1"
_HEADER_NALS = {"h264": frozenset((7, 8, 9)), "hevc": frozenset((32, 33, 34, 35))}
"""Parameter sets and access unit delimiters: a muxer adds and removes them."""


def payload_reader(stream: Stream, *, bare: bool) -> PayloadReader:
    """How to get at the content of a stream's packets; `bare` takes the container's framing off."""
    context = stream.codec_context
    codec = context.name if bare and context is not None else ""
    if codec == "aac":
        return _without_adts
    if codec in _HEADER_NALS:
        return _nal_reader(codec, context.extradata or b"")
    return bytes


def _without_adts(packet: Packet) -> bytes:
    content = bytes(packet)
    has_header = len(content) > 7 and content[0] == 0xFF and content[1] & 0xF6 == 0xF0
    if not has_header or (content[3] & 3) << 11 | content[4] << 3 | content[5] >> 5 != len(content):
        return content
    return content[7 if content[1] & 1 else 9 :]


def _nal_reader(codec: str, extradata: bytes) -> PayloadReader:
    left_out = _HEADER_NALS[codec]
    length_size = _length_size(codec, extradata)

    def read(packet: Packet) -> bytes:
        content = bytes(packet)
        units = _behind_start_codes(content) if length_size is None else _behind_lengths(content, length_size)
        kept = (unit.rstrip(b"\0") for unit in units)
        return _START_CODE.join(unit for unit in kept if unit and _nal_type(codec, unit) not in left_out)

    return read


def _length_size(codec: str, extradata: bytes) -> int | None:
    """Bytes of the length before each NAL unit; None where start codes part them."""
    at = 4 if codec == "h264" else 21
    return (extradata[at] & 3) + 1 if len(extradata) > at and extradata[0] == 1 else None


def _nal_type(codec: str, unit: bytes) -> int:
    return unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F


def _behind_start_codes(content: bytes) -> Iterator[bytes]:
    at = content.find(_START_CODE)
    while at >= 0:
        end = content.find(_START_CODE, at + 3)
        yield content[at + 3 : end if end >= 0 else len(content)]
        at = end


def _behind_lengths(content: bytes, length_size: int) -> Iterator[bytes]:
    at = 0
    while at + length_size <= len(content):
        length = int.from_bytes(content[at : at + length_size], "big")
        at += length_size
        yield content[at : at + length]
        at += length
