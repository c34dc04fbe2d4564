"""Options of ``facemill eval`` that are lists, checked."""

from __future__ import annotations

from collections.abc import Sequence

from storage.errors import UsageError

_ALLOWED_WIDTHS = range(32, 401)


def listed(text: str | None, usual: Sequence[str]) -> list[str]:
    """The parts of a comma-separated option, each once."""
    parts = list(usual) if text is None else [part.strip() for part in text.split(",")]
    return list(dict.fromkeys(part for part in parts if part))


def known(option: str, text: str | None, of: Sequence[str], usual: Sequence[str]) -> list[str]:
    """The parts of an option, each of which is one of some.

    Raises:
        UsageError: one is not, or there is none.
    """
    chosen = listed(text, usual)
    unknown = [name for name in chosen if name not in of]
    if unknown or not chosen:
        raise UsageError(f"{option}: {', '.join(unknown) or 'nothing chosen'}; choose from {','.join(of)}")
    return chosen


def width_of(text: str) -> int:
    """A face's width, px.

    Raises:
        UsageError: it is none, or out of range.
    """
    if not text.isdecimal() or int(text) not in _ALLOWED_WIDTHS:
        allowed = f"{_ALLOWED_WIDTHS.start} to {_ALLOWED_WIDTHS.stop - 1}"
        raise UsageError(f"--widths: {text} is not a whole number of px from {allowed}")
    return int(text)
