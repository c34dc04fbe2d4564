"""What a specimen of the zoo is, and the tools that most of them are made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import ffmpeg
import imageio_ffmpeg

from tests.media import Clip, make_video

Kind = Literal["container", "timing", "picture", "streams", "damage"]
Outcome = Literal["exact", "damaged", "refused"]


@dataclass(frozen=True)
class Specimen:
    """A small file with something special about it, and what becomes of it."""

    name: str
    """File name with suffix, unique in the zoo."""
    kind: Kind
    """Heading in the table of `docs/media.md`."""
    what: str
    """What is special, in one line for that table."""
    make: Callable[[Path], object]
    """Writes the file, from code and a seed, in well under two seconds."""
    outcome: Outcome = "exact"
    """exact: every frame, packet and tag arrives. damaged: what can be read arrives, and the manifest tells the rest.
    refused: the file fails with its reason."""
    note: str = ""
    """For damaged and refused: a part of what the manifest says."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """For damaged: what columns of the manifest hold, as far as that is known from how the file is made."""
    times: Callable[[Path], Sequence[Fraction]] | None = None
    """Seconds of every frame of the result, where a plain decoder's timestamps of the file are not the truth."""
    lost: Mapping[str, str] = field(default_factory=dict)
    """What no result can hold: a field of `checks.Tags`, or `samples` where the result has another pixel format, with a
    part of what the manifest says of it; empty where nothing is lost by it."""
    lossless: bool = True
    """Whether x264's lossless mode is so for it: coding fields, it is off by one level in a sample here and there."""
    moved: Fraction | Callable[[Path], Fraction] = Fraction(0)
    """Seconds by which every stream must be moved, because the picture begins before zero."""
    recordings: Callable[[Path], Sequence[Path]] | None = None
    """Writes into a folder the recordings that the file is a concatenation of, in order; their times start anew."""

    def moved_by(self, path: Path) -> Fraction:
        """`moved` of the specimen at `path`."""
        return self.moved if isinstance(self.moved, Fraction) else self.moved(path)


def clip(**options: Any) -> Callable[[Path], object]:
    """A maker of a `tests.media.Clip`."""
    return lambda path: make_video(path, Clip(**options))


def from_pattern(seconds: float = 2, size: str = "64x48", rate: str = "25", sound: bool = False) -> list[Any]:
    """Inputs for `write`: a moving test pattern, and a tone when asked."""
    inputs = [ffmpeg.input(f"testsrc2=size={size}:rate={rate}:duration={seconds}", f="lavfi")]
    if sound:
        inputs.append(ffmpeg.input(f"sine=frequency=440:sample_rate=48000:duration={seconds}", f="lavfi"))
    return inputs


def write(path: Path, inputs: Sequence[Any], **options: Any) -> None:
    """Run the ffmpeg of imageio-ffmpeg over `inputs`; options are its output options."""
    command = ffmpeg.output(*inputs, str(path), threads=1, **options).overwrite_output()
    command.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True)


def pattern(
    *, seconds: float = 2, size: str = "64x48", rate: str = "25", sound: bool = False, **options: Any
) -> Callable[[Path], object]:
    """A maker of a test pattern, encoded with the output options of ffmpeg."""
    return lambda path: write(path, from_pattern(seconds, size, rate, sound), **options)


def remuxed(source: Path, target: Path, **options: Any) -> Path:
    """Copy every stream of `source` into `target`."""
    write(target, [ffmpeg.input(str(source))], **{"c": "copy", "map": 0, **options})
    return target
