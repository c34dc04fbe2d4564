"""What must be known of an H.264 stream without decoding it: which access units are the second field of a frame.

Interlaced streams may code a frame as two fields, each in a packet of its own (PAFF): two packets then are one frame.
Clauses are those of ITU-T H.264.
"""

from __future__ import annotations

from dataclasses import dataclass

from av.packet import Packet
from av.video.stream import VideoStream

from storage.nal_units import length_size, payload_of, sequence_sets_of_avcc, unit_type, units_in

_SPS = 7
_SLICES = (1, 5)
_HEADER_BYTES = 64
"""More than the part of a slice header that is looked at takes."""

_WITH_CHROMA_FORMAT = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244))
"""profile_idc of which the parameter set tells chroma format, depth and scaling matrices (7.3.2.1.1)."""


@dataclass(frozen=True)
class SequenceParameters:
    """What a sequence parameter set says about slice headers."""

    frame_num_bits: int
    has_fields: bool
    """frame_mbs_only_flag is 0: pictures may be fields."""
    separate_planes: bool


class FieldPairs:
    """Tells the second field of each pair, from a stream's packets in coding order."""

    def __init__(self, stream: VideoStream) -> None:
        """Args:
        stream: of any codec; one that is not H.264, or that has no fields, has no second fields.
        """
        self._is_h264 = stream.codec_context.name == "h264"
        extradata = stream.codec_context.extradata or b"" if self._is_h264 else b""
        self._length_bytes = length_size("h264", extradata)
        units = units_in(extradata, None) if self._length_bytes is None else sequence_sets_of_avcc(extradata)
        self._parameters = next((parse_sps(unit) for unit in units if unit_type("h264", unit) == _SPS), None)
        self._first: tuple[int, int] | None = None  # (frame_num, bottom_field_flag) of a field that lacks its second

    def is_second(self, packet: Packet) -> bool:
        """Whether the next packet holds the second field of the frame that the one before began."""
        if not self._is_h264 or (self._parameters is not None and not self._parameters.has_fields):
            return False
        field = self._field_in(bytes(packet))
        if field is None:
            self._first = None
            return False
        second = self._first == (field[0], 1 - field[1])
        self._first = None if second else field
        return second

    def _field_in(self, content: bytes) -> tuple[int, int] | None:
        """(frame_num, bottom_field_flag) of a packet that holds one field; None for a frame, or two fields."""
        found: set[tuple[int, int]] = set()
        for unit in units_in(content, self._length_bytes):
            kind = unit_type("h264", unit)
            if kind == _SPS:
                self._parameters = parse_sps(unit)
            elif kind in _SLICES and self._parameters is not None:
                field = _field_of_slice(unit, self._parameters)
                if field is None:
                    return None
                found.add(field)
        return found.pop() if len(found) == 1 else None


class _BitReader:
    """Bits of a NAL unit's payload, emulation prevention taken out."""

    def __init__(self, unit: bytes) -> None:
        payload = payload_of(unit)
        self._bits = int.from_bytes(payload, "big")
        self._left = 8 * len(payload)

    def fixed(self, width: int) -> int:
        self._left -= width
        if self._left < 0:
            raise ValueError("the unit ends early")
        return self._bits >> self._left & (1 << width) - 1

    def ue(self) -> int:
        """Exp-Golomb code (9.1)."""
        zeros = 0
        while self.fixed(1) == 0:
            zeros += 1
        return (1 << zeros) - 1 + (self.fixed(zeros) if zeros else 0)

    def skip_ue(self, times: int) -> None:
        for _ in range(times):
            self.ue()


def parse_sps(unit: bytes) -> SequenceParameters | None:
    """A sequence parameter set (7.3.2.1.1), up to frame_mbs_only_flag; None when it is cut."""
    bits = _BitReader(unit)
    separate_planes = False
    try:
        profile = bits.fixed(24) >> 16
        bits.skip_ue(1)
        if profile in _WITH_CHROMA_FORMAT:
            chroma_format = bits.ue()
            separate_planes = chroma_format == 3 and bits.fixed(1) == 1
            bits.skip_ue(2)
            bits.fixed(1)
            if bits.fixed(1):
                _skip_scaling_lists(bits, 12 if chroma_format == 3 else 8)
        frame_num_bits = bits.ue() + 4
        order_count_type = bits.ue()
        if order_count_type == 0:
            bits.skip_ue(1)
        elif order_count_type == 1:
            bits.fixed(1)
            bits.skip_ue(2)
            bits.skip_ue(bits.ue())
        bits.skip_ue(1)
        bits.fixed(1)
        bits.skip_ue(2)
        return SequenceParameters(frame_num_bits, has_fields=bits.fixed(1) == 0, separate_planes=separate_planes)
    except ValueError:
        return None


def _skip_scaling_lists(bits: _BitReader, lists: int) -> None:
    for number in range(lists):
        if not bits.fixed(1):
            continue
        last = following = 8
        for _ in range(16 if number < 6 else 64):
            if following:
                code = bits.ue()
                following = (last + ((code + 1) // 2 if code % 2 else -code // 2)) % 256
            last = following or last


def _field_of_slice(unit: bytes, parameters: SequenceParameters) -> tuple[int, int] | None:
    """(frame_num, bottom_field_flag) by a slice's header (7.3.3); None when it is of a frame, or cut."""
    bits = _BitReader(unit[:_HEADER_BYTES])
    try:
        bits.skip_ue(3)
        if parameters.separate_planes:
            bits.fixed(2)
        frame_num = bits.fixed(parameters.frame_num_bits)
        return (frame_num, bits.fixed(1)) if parameters.has_fields and bits.fixed(1) else None
    except ValueError:
        return None
