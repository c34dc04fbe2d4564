"""What a packet holds, with or without the framing that its container asks for.

The same AAC frame stands bare in MP4 and behind an ADTS header in MPEG-TS. The same H.264 picture is a list of NAL
units behind lengths in one, and behind start codes in the other, with parameter sets that the first keeps in its
header.
"""

from __future__ import annotations

from collections.abc import Callable

from av.packet import Packet
from av.stream import Stream

from storage.nal_units import START_CODE, length_size, unit_type, units_in

PayloadReader = Callable[[Packet], bytes]

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
    left_out, length_bytes = _HEADER_NALS[codec], length_size(codec, extradata)

    def read(packet: Packet) -> bytes:
        units = (unit.rstrip(b"\0") for unit in units_in(bytes(packet), length_bytes))
        return START_CODE.join(unit for unit in units if unit and unit_type(codec, unit) not in left_out)

    return read
