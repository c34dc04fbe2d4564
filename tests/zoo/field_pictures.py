"""H.264 whose frames are coded as two fields, each in an access unit of its own (PAFF), written bit by bit.

No encoder at hand makes such streams, and old broadcasts and cameras are full of them. All samples are coded as they
are (I_PCM), or copied from the field before (P_Skip), so a page of code is an encoder. ITU-T H.264, clause 7.3.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

_WIDTH, _HEIGHT = 64, 64
_GOP = 10
_NAL_SLICE, _NAL_IDR, _NAL_SPS, _NAL_PPS = 1, 5, 7, 8
_SLICE_P, _SLICE_I = 5, 7


class _Bits:
    def __init__(self) -> None:
        self._bits: list[str] = []

    def fixed(self, width: int, value: int) -> _Bits:
        self._bits.append(f"{value:0{width}b}")
        return self

    def exp_golomb(self, *values: int) -> _Bits:
        """ue(v); se(0) is written alike."""
        for value in values:
            code = f"{value + 1:b}"
            self._bits.append("0" * (len(code) - 1) + code)
        return self

    def aligned(self, content: bytes) -> _Bits:
        text = "".join(self._bits)
        text += "0" * (-len(text) % 8)
        self._bits = [text, "".join(f"{byte:08b}" for byte in content)]
        return self

    def nal(self, kind: int) -> bytes:
        """With the stop bit, the header and emulation prevention."""
        text = "".join(self._bits) + "1"
        text += "0" * (-len(text) % 8)
        payload = int(text, 2).to_bytes(len(text) // 8, "big")
        escaped, zeros = bytearray(), 0
        for byte in payload:
            if zeros >= 2 and byte <= 3:
                escaped.append(3)
                zeros = 0
            escaped.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return b"\0\0\0\1" + bytes([3 << 5 | kind]) + bytes(escaped)


def _parameter_sets() -> bytes:
    sps = _Bits().fixed(24, 77 << 16 | 30).exp_golomb(0, 0, 0, 4, 1).fixed(1, 0)  # Main, level 3, 8 bits of order count
    sps.exp_golomb(_WIDTH // 16 - 1, _HEIGHT // 32 - 1)
    sps.fixed(1, 0).fixed(1, 0).fixed(1, 1).fixed(1, 0)  # fields allowed, no MBAFF, direct_8x8, no cropping
    sps.fixed(1, 1).fixed(4, 0).fixed(1, 1).fixed(32, 1).fixed(32, 50).fixed(1, 1).fixed(4, 0)  # 50 fields a second
    pps = _Bits().exp_golomb(0, 0).fixed(2, 0).exp_golomb(0, 0, 0).fixed(3, 0).exp_golomb(0, 0, 0).fixed(3, 0)
    return sps.nal(_NAL_SPS) + pps.nal(_NAL_PPS)


def _field(number: int, *, bottom: bool) -> bytes:
    """One field of frame `number`; the bottom field of every third frame repeats what it can refer to."""
    in_gop = number % _GOP
    idr = in_gop == 0 and not bottom
    skipped = bottom and number % 3 == 2
    bits = _Bits().exp_golomb(0, _SLICE_P if skipped else _SLICE_I, 0).fixed(4, in_gop).fixed(1, 1).fixed(1, bottom)
    if idr:
        bits.exp_golomb(number // _GOP % 2)
    bits.fixed(8, 2 * in_gop + bottom)
    if skipped:
        bits.fixed(1, 0).fixed(1, 0)
    bits.fixed(2 if idr else 1, 0).exp_golomb(0)  # marking of reference pictures, quantiser
    blocks = (_WIDTH // 16) * (_HEIGHT // 32)
    if skipped:
        return bits.exp_golomb(blocks).nal(_NAL_SLICE)
    y, x = np.mgrid[: _HEIGHT // 2, :_WIDTH]
    luma = (x * 2 + y + 5 * number + 40 * bottom) % 200 + 20
    for block in range(blocks):
        top, left = block // (_WIDTH // 16) * 16, block % (_WIDTH // 16) * 16
        samples = luma[top : top + 16, left : left + 16].astype(np.uint8).tobytes() + bytes([100 + number]) * 128
        bits.exp_golomb(25).aligned(samples)
    return bits.nal(_NAL_IDR if idr else _NAL_SLICE)


def write_field_pictures(path: Path, frames: int = 50) -> None:
    """Write `frames` frames of two fields each, 25 frames a second, an IDR picture in every tenth."""
    fields = (_field(number, bottom=bottom) for number in range(frames) for bottom in (False, True))
    path.write_bytes(_parameter_sets() + b"".join(fields))
