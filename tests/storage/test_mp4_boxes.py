from __future__ import annotations

import io
import struct

from storage.mp4_boxes import Box, box, boxes, full_box


def test_boxes_stand_one_after_the_other() -> None:
    content = box(b"ftyp", b"isom") + full_box(b"stts", b"1234")
    assert list(boxes(io.BytesIO(content), 0, len(content))) == [Box(b"ftyp", 0, 8, 12), Box(b"stts", 12, 20, 28)]


def test_a_size_may_have_64_bits() -> None:
    content = struct.pack(">I4sQ", 1, b"mdat", 16 + 3) + b"abc" + box(b"free", b"")
    assert list(boxes(io.BytesIO(content), 0, len(content))) == [Box(b"mdat", 0, 16, 19), Box(b"free", 19, 27, 27)]


def test_a_box_without_a_size_reaches_to_the_end() -> None:
    content = box(b"free", b"") + struct.pack(">I4s", 0, b"mdat") + b"abcd"
    assert list(boxes(io.BytesIO(content), 0, len(content)))[1] == Box(b"mdat", 8, 16, 20, open_ended=True)


def test_a_box_that_does_not_fit_is_the_end() -> None:
    whole = box(b"free", b"")
    for cut in (struct.pack(">I4s", 99, b"mdat") + b"abcd", struct.pack(">I4s", 7, b"mdat"), b"\0\0\0"):
        assert [each.kind for each in boxes(io.BytesIO(whole + cut), 0, len(whole + cut))] == [b"free"]
