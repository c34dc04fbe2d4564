"""What FFmpeg says of a file in words, as `ffprobe` prints it: for the few facts that PyAV does not hand on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from threading import Lock
from typing import Literal, get_args

import av
from av.container import InputContainer

StreamKind = Literal["video", "audio", "subtitle", "data", "attachment", "unknown"]

_LOCK = Lock()

_STREAM = re.compile(r"  Stream #0:(\d+)(?:\[\w+\])?(?:\([^)]*\))?: (\w+): (\w+)")
"""Index, kind and codec."""


@dataclass(frozen=True)
class LateStream:
    """A stream that appeared only midway, so that PyAV has no packets of it."""

    index: int
    kind: StreamKind
    codec: str
    """FFmpeg's name; empty when FFmpeg does not know it."""


def described(container: InputContainer) -> list[str]:
    """FFmpeg's lines about a file, as far as it was demuxed."""
    with _LOCK:  # the level is the process's
        level = av.logging.get_level()
        av.logging.set_level(av.logging.VERBOSE)
        av.logging.set_libav_level(av.logging.VERBOSE)  # below it, the place of the chroma is not told
        try:
            return list(container.dumps_format().splitlines())  # type: ignore[attr-defined]
        finally:
            av.logging.set_libav_level(av.logging.INFO)
            av.logging.set_level(level)


def described_stream(container: InputContainer, index: int) -> list[str]:
    """Those about one stream."""
    lines = described(container)
    begin = next((at for at, line in enumerate(lines) if re.match(rf"  Stream #0:{index}\b", line)), len(lines))
    end = next((at for at in range(begin + 1, len(lines)) if not lines[at].startswith("    ")), len(lines))
    return lines[begin:end]


def late_streams(container: InputContainer) -> list[LateStream]:
    """The streams that appeared while a container was demuxed; PyAV knows those that were there when it was opened."""
    told = (_STREAM.match(line) for line in described(container))
    streams = [LateStream(int(each[1]), _kind(each[2]), each[3].replace("none", "")) for each in told if each]
    return sorted((each for each in streams if each.index >= len(container.streams)), key=lambda each: each.index)


def _kind(told: str) -> StreamKind:
    kinds: tuple[StreamKind, ...] = get_args(StreamKind)
    return next((kind for kind in kinds if kind == told.lower()), "unknown")
