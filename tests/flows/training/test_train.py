from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from flows.train import train
from flows.training.portraits import DataError
from storage.errors import UsageError


def test_the_command_trains_from_a_folder_of_portraits(portraits_folder: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(train)
    out, cache = tmp_path / "expert_t.safetensors", tmp_path / "cache"
    command = f"--expert t --data {portraits_folder} --out {out} --cache {cache} --steps 1 --batch 1 --patch 16"
    finished = CliRunner().invoke(app, [*command.split(), "--validation-faces", "1"])
    assert finished.exit_code == 0, finished.output
    assert "clean" in finished.output
    assert out.is_file()


def test_faces_too_narrow_for_an_expert_are_said_to_be(portraits_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of 3 faces is 320 px wide"):
        train("f", portraits_folder, tmp_path / "expert_f.safetensors", cache=tmp_path / "cache", steps=1)


def test_a_patch_that_windows_do_not_tile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--patch is 20 px"):
        train("t", tmp_path, tmp_path / "expert_t.safetensors", patch=20)


def test_a_folder_without_faces_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"faces\.csv: not found"):
        train("t", tmp_path, tmp_path / "expert_t.safetensors")
