"""A zoo of small video files, each with something special about it. `python -m tests.zoo DIR` writes them."""

from __future__ import annotations

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


def write_zoo(folder: Path) -> None:
    """Write every specimen into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for specimen in ALL:
        specimen.make(folder / specimen.name)
