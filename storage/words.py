"""Words and names as a person reads them."""

from __future__ import annotations

import re

_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""What moves a terminal's cursor or colours it, and what stands for a byte that is no UTF-8."""


def counted(number: int, one: str, many: str = "") -> str:
    """`1 frame`, `2 frames`; `many` where it is not `one` with an s: `1 packet has`, `2 packets have`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def printable(text: str) -> str:
    """`text` on one line: a name may hold what steers a terminal, or bytes that are no UTF-8; each becomes `\\x1b`."""
    return _STEERING.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", text)


def is_utf8(name: str) -> bool:
    """Whether a name of the filesystem is text: Linux allows any bytes, and Python holds what is none as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
