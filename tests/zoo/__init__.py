"""A zoo of small video files, each with something special about it. `python -m tests.zoo DIR` writes them."""

from __future__ import annotations

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


def write_zoo(folder: Path, specimens: Iterable[Specimen] = ALL) -> None:
    """Write specimens into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for specimen in specimens:
        specimen.make(folder / specimen.name)
