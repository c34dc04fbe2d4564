"""Every error facemill raises on purpose. Each message says what was wrong, where, and what to do.

FacemillError
├── UsageError          the command or its configuration cannot be carried out; nothing was started
├── SourceError         one source cannot be restored; the rest of the job is not concerned
│   └── ChangedSourceError  it is not the file any more that the job found
├── DestinationError    results cannot be written
│   └── NoRoomError     a disk that they, or what is on its way to them, are written to is full: no video's own fault
└── MediaError          frames or packets are not what their index or receipt says
"""

from __future__ import annotations

import errno
from collections.abc import Iterator


class FacemillError(Exception):
    """Base of the errors whose text is meant for the person who runs facemill."""


class UsageError(FacemillError):
    """The command line or the configuration asks for something that cannot be done."""


class SourceError(FacemillError):
    """A source is missing, unreadable, or has nothing to restore."""


class ChangedSourceError(SourceError):
    """A source was replaced, written to or removed while the job ran."""


class DestinationError(FacemillError):
    """The destination cannot take the results."""


class NoRoomError(DestinationError):
    """A disk is full. Whatever is written next would find the same, so the job ends with it."""


class MediaError(FacemillError):
    """Frames or packets differ from what the plan or a receipt says they must be."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, then what it was raised from, and so on: s3fs raises a built-in error from the one that knows more."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def explain(error: BaseException, where: str = "") -> str:
    """One line for a person: facemill's own text as it is, any other error with its type in front.

    Args:
        where: the file that it is about. Given, the line also says of such another error where it was and what to do.
    """
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return f"memory ran out ({text}). Run the same command again with smaller pools, or on a larger machine"
    if isinstance(error, FacemillError):
        return text
    told = f"{type(error).__name__}: {text}"
    return f"{where}: {told}. Run the same command again, and report it if it says so again" if where else told
