from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from flows.training.pack import pack
from flows.training.portraits import DataError, read_portraits
from storage.errors import UsageError


def unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """As `extractall`, whose argument against paths that lead elsewhere Python 3.11.2 of Debian 12 does not know."""
    for member in archive.getmembers():
        content = archive.extractfile(member)
        assert content is not None
        (folder / member.name).parent.mkdir(parents=True, exist_ok=True)
        (folder / member.name).write_bytes(content.read())


def test_the_parts_are_small_trainable_and_together_the_folder(portraits_folder: Path, tmp_path: Path) -> None:
    largest = max(path.stat().st_size for path in portraits_folder.rglob("*.png"))
    limit = (2 * largest + 20_000) / 1e6
    parts = pack(portraits_folder, tmp_path / "parts", limit)
    assert len(parts) >= 2
    whole = tmp_path / "whole"
    for part in parts:
        assert part.stat().st_size <= limit * 1e6
        for folder in (whole, tmp_path / part.stem):
            with tarfile.open(part) as archive:
                unpack(archive, folder)
    assert read_portraits(tmp_path / parts[0].stem, "train")
    files = [path.relative_to(portraits_folder) for path in portraits_folder.rglob("*") if path.is_file()]
    for name in files:
        assert (whole / name).read_bytes() == (portraits_folder / name).read_bytes()


def test_a_part_that_cannot_hold_an_image_and_an_empty_folder_are_refused(
    portraits_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="allow more"):
        pack(portraits_folder, tmp_path / "parts", 0.01)
    with pytest.raises(DataError, match="not found"):
        pack(tmp_path, tmp_path / "parts", 60)
    assert not (tmp_path / "parts").exists()
