"""A zoo of small video files, each with something special about it. `python -m tests.zoo DIR` writes them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

from tests.zoo import containers, damage, pictures, streams, timing
from tests.zoo.specimen import Specimen

ALL: tuple[Specimen, ...] = (
    *containers.SPECIMENS,
    *timing.SPECIMENS,
    *pictures.SPECIMENS,
    *streams.SPECIMENS,
    *damage.SPECIMENS,
)

_ONE_IN = 3

SAMPLE: tuple[Specimen, ...] = tuple(
    each for each in ALL if each.outcome != "exact" or zlib.crc32(each.name.encode()) % _ONE_IN == 0
)
"""What every run of the tests takes, for want of time: all that are damaged, and a third of the others, the same ones
however many join them. `pytest --whole-zoo` takes all."""


def write_zoo(folder: Path, specimens: Iterable[Specimen] = ALL) -> None:
    """Write specimens into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for specimen in specimens:
        specimen.make(folder / specimen.name)
