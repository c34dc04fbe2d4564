"""NAL units are found behind start codes and behind lengths, and none is made up where a packet is cut."""

from __future__ import annotations

import pytest

from storage.nal_units import length_size, payload_of, sequence_sets_of_avcc, unit_type, units_in

SPS, PPS, IDR = b"\x67\x64\x00\x0a", b"\x68\xee", b"\x65\x88\x84"


@pytest.mark.parametrize("start_code", [b"\0\0\1", b"\0\0\0\1", b"\0\0\0\0\0\1"], ids=["3 bytes", "4 bytes", "zeros"])
def test_units_stand_behind_start_codes_of_any_length(start_code: bytes) -> None:
    content = b"".join(start_code + unit for unit in (SPS, PPS, IDR))
    assert list(units_in(content, None)) == [SPS, PPS, IDR]


def test_zeros_behind_the_last_unit_are_not_its() -> None:
    assert list(units_in(b"\0\0\1" + IDR + b"\0\0\0", None)) == [IDR]


def test_what_comes_before_the_first_start_code_is_no_unit() -> None:
    assert list(units_in(b"\x12\x34\0\0\1" + IDR, None)) == [IDR]
    assert list(units_in(IDR, None)) == []


def test_three_bytes_that_emulation_prevention_keeps_apart_begin_no_unit() -> None:
    unit = b"\x65\x01\0\0\3\1\x22"
    assert list(units_in(b"\0\0\1" + unit, None)) == [unit]


@pytest.mark.parametrize("length_bytes", [1, 2, 4])
def test_units_stand_behind_their_lengths(length_bytes: int) -> None:
    content = b"".join(len(unit).to_bytes(length_bytes, "big") + unit for unit in (SPS, PPS, IDR))
    assert list(units_in(content, length_bytes)) == [SPS, PPS, IDR]


def test_a_start_code_inside_a_unit_with_a_length_ends_nothing() -> None:
    unit = b"\x65\0\0\1\x22"
    assert list(units_in(bytes([len(unit)]) + unit, 1)) == [unit]


def test_of_a_truncated_unit_comes_what_is_there() -> None:
    assert list(units_in(b"\0\2" + PPS + b"\0\x09" + IDR, 2)) == [PPS, IDR]
    assert list(units_in(b"\0\0\1" + PPS + b"\0\0\1" + IDR[:1], None)) == [PPS, IDR[:1]]


@pytest.mark.parametrize("left", [b"", b"\0", b"\0\2"], ids=["nothing", "half a length", "a length alone"])
def test_a_packet_cut_in_a_length_has_no_unit_more(left: bytes) -> None:
    assert list(units_in(b"\0\2" + PPS + left, 2)) == [PPS]


def test_a_units_kind_stands_in_its_first_byte() -> None:
    assert [unit_type("h264", unit) for unit in (SPS, PPS, IDR, b"\x01")] == [7, 8, 5, 1]
    assert [unit_type("hevc", unit) for unit in (b"\x40\1", b"\x42\1", b"\x26\1", b"\x02\1")] == [32, 33, 19, 1]
    assert unit_type("h264", b"") == -1


def test_the_payload_is_without_emulation_prevention() -> None:
    assert payload_of(b"\x65\0\0\3\1\xff\0\0\3\0\0\3\2") == b"\0\0\1\xff\0\0\0\0\2"


def test_the_header_tells_how_long_lengths_are() -> None:
    assert [length_size("h264", b"\1\x64\0\x0a" + bytes([0xFC | size])) for size in (0, 1, 3)] == [1, 2, 4]
    assert length_size("hevc", b"\1" + bytes(20) + b"\xff") == 4


@pytest.mark.parametrize("extradata", [b"", b"\1\x64", b"\0\0\0\1" + SPS], ids=["none", "cut", "start codes"])
def test_without_such_a_header_start_codes_part_the_units(extradata: bytes) -> None:
    assert length_size("h264", extradata) is None


def test_other_codecs_have_no_lengths() -> None:
    assert length_size("vp9", b"\1" + bytes(30)) is None


def test_the_header_of_mp4_holds_the_sequence_sets() -> None:
    avcc = b"\1\x64\0\x0a\xff" + b"\xe2" + b"\0\4" + SPS + b"\0\2" + SPS[:2] + b"\1" + b"\0\2" + PPS
    assert list(sequence_sets_of_avcc(avcc)) == [SPS, SPS[:2]]
    assert list(sequence_sets_of_avcc(avcc[:5])) == []
