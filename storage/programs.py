"""Programs (services) of an MPEG-TS. PyAV neither shows nor makes them: they are read from FFmpeg's description of the
file, and the muxer is told of the one that it makes by its options and the file's tags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from av.container import InputContainer

from storage.descriptions import described

_PART = re.compile(r"^  (?=Program \d|No Program)", flags=re.MULTILINE)
_NUMBER = re.compile(r"Program (\d+)")
_TAG = re.compile(r"^      (service_\w+) *: (.*)$", flags=re.MULTILINE)
_STREAM = re.compile(r"^  Stream #0:(\d+)", flags=re.MULTILINE)


@dataclass(frozen=True)
class Program:
    """A program of a transport stream, as its tables name it."""

    number: int
    """Its service id, 1 to 65535."""
    name: str = ""
    """Of the service; empty when the stream does not say."""
    provider: str = ""
    streams: frozenset[int] = frozenset()
    """Indices of those that belong to it; a stream may belong to several programs."""

    def __str__(self) -> str:
        return f"{self.number} {self.name!r} of {self.provider!r}"


def programs(container: InputContainer) -> tuple[Program, ...]:
    """The programs of a transport stream; none of any other container."""
    if container.format.name != "mpegts":
        return ()
    parts = _PART.split("\n".join(described(container)))
    return tuple(_program(number[1], part) for part in parts if (number := _NUMBER.match(part)))


def program_of(container: InputContainer, stream_index: int) -> Program | None:
    """The first program that a stream belongs to; None when it belongs to none."""
    return next((each for each in programs(container) if stream_index in each.streams), None)


def program_options(program: Program | None) -> dict[str, str]:
    """What makes FFmpeg's MPEG-TS muxer number its one program so."""
    return {} if program is None else {"mpegts_service_id": str(program.number)}


def program_tags(program: Program | None) -> dict[str, str]:
    """Tags of the file that the MPEG-TS muxer names its program by.

    Empty where the source says nothing: else the muxer writes names of its own.
    """
    return {
        "service_name": "" if program is None else program.name,
        "service_provider": "" if program is None else program.provider,
    }


def _program(number: str, told: str) -> Program:
    tags = dict(_TAG.findall(told.split("\n  Stream #", 1)[0]))
    streams = frozenset(int(index) for index in _STREAM.findall(told))
    return Program(int(number), tags.get("service_name", ""), tags.get("service_provider", ""), streams)
