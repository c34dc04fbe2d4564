"""One thing is not many."""

from storage.words import counted, is_utf8, printable


def test_one_is_told_as_one() -> None:
    assert [counted(number, "time") for number in (0, 1, 2)] == ["0 times", "1 time", "2 times"]
    assert counted(1, "packet has", "packets have") == "1 packet has"
    assert counted(3, "packet has", "packets have") == "3 packets have"


def test_what_steers_a_terminal_is_shown_not_obeyed() -> None:
    assert printable("a\x1b[31m\nb\x9b\udcff.mp4") == r"a\x1b[31m\x0ab\x9b\xff.mp4"
    assert printable("Grüße, 講義 100 %\\.mp4") == "Grüße, 講義 100 %\\.mp4"
    assert is_utf8("講義.mp4")
    assert not is_utf8("caf\udce9.mp4")
