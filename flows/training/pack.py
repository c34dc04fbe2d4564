"""Pack a training folder into parts of a limited size, for machines that take data in small pieces.

``python -m flows.training.pack --data DIR --out PARTS --part-mb 60`` writes ``faces-00.tar``, ``faces-01.tar`` ...
Unpacked into one folder, in any order, they are the training folder again; each part has the table, so any of
them alone can be trained on too.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Annotated

import typer

from flows.training.portraits import DataError, read_portraits
from storage.errors import UsageError

_MEMBER_OVERHEAD = 5 * tarfile.BLOCKSIZE
"""Most bytes that a member costs beyond its content: header, padding, and three blocks for a name above 100 bytes."""


def pack(
    data: Annotated[Path, typer.Option(help="Folder with faces.csv, train/ and val/.")],
    out: Annotated[Path, typer.Option(help="Folder that takes the parts.")],
    part_mb: Annotated[float, typer.Option(help="Most megabytes (10^6 bytes) a part.")] = 60.0,
) -> list[Path]:
    """Write the parts and return their paths.

    Raises:
        flows.training.portraits.DataError: the folder holds no usable faces.
        storage.errors.UsageError: a part cannot hold even one image beside the table.
    """
    table = data / "faces.csv"
    images: list[Path] = []
    for split in ("train", "val"):
        try:
            images += sorted({portrait.path for portrait in read_portraits(data, split, typer.echo)})
        except DataError:
            if split == "val" and not images:
                raise
    limit = int(part_mb * 1e6)
    common = table.stat().st_size + _MEMBER_OVERHEAD + tarfile.RECORDSIZE
    groups: list[list[Path]] = []
    room = 0
    for image in images:
        cost = image.stat().st_size + _MEMBER_OVERHEAD
        if common + cost > limit:
            needed = (common + cost) / 1e6
            raise UsageError(f"--part-mb is {part_mb}, but {image.name} and the table need {needed:.2f}; allow more")
        if cost > room:
            groups.append([])
            room = limit - common
        groups[-1].append(image)
        room -= cost
    out.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, group in enumerate(groups):
        part = out / f"faces-{number:02d}.tar"
        with tarfile.open(part, "w", format=tarfile.GNU_FORMAT) as archive:
            for path in (table, *group):
                archive.add(path, path.relative_to(data).as_posix())
        parts.append(part)
        typer.echo(f"{part}: {len(group)} images, {part.stat().st_size / 1e6:.1f} MB")
    return parts


if __name__ == "__main__":
    typer.run(pack)
