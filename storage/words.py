"""Words that depend on a number."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """`1 frame`, `2 frames`; `many` where it is not `one` with an s: `1 packet has`, `2 packets have`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
