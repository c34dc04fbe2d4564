"""One thing is not many."""

from storage.words import counted


def test_one_is_told_as_one() -> None:
    assert [counted(number, "time") for number in (0, 1, 2)] == ["0 times", "1 time", "2 times"]
    assert counted(1, "packet has", "packets have") == "1 packet has"
    assert counted(3, "packet has", "packets have") == "3 packets have"
