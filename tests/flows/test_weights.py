"""`facemill weights`: what there is, and bringing it here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.weights import app
from weights import entry_of, read_registry

CONTENT = b"the weights"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where fetched weights lie, and a registry of two that can be had from nowhere."""
    folder = tmp_path / "cache"
    folder.mkdir()
    registry = tmp_path / "registry.toml"
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    registry.write_text(
        "\n".join(
            f'[{name}]\nfile = "{name}.onnx"\nsha256 = "{sha256}"\nsize = {len(CONTENT)}\nlicense = "MIT"\n'
            f'architecture = "Some"\nsources = [{{ url = "https://127.0.0.1:9/{name}" }}]'
            for name in ("one", "two")
        )
    )
    monkeypatch.setenv("FACEMILL_WEIGHTS", str(folder))
    monkeypatch.setattr("flows.weights.read_registry", lambda: read_registry(registry))
    monkeypatch.setattr("flows.weights.entry_of", lambda name: entry_of(name, registry=registry))
    return folder


def test_the_list_tells_what_is_here(folder: Path) -> None:
    (folder / "one.onnx").write_bytes(CONTENT)
    lines = CliRunner().invoke(app, ["list"]).output.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["name", "one", "two"]
    assert lines[1].endswith("  here")
    assert lines[2].endswith("  not here")
    (folder / "one.onnx").write_bytes(CONTENT[1:])
    assert "damaged" in CliRunner().invoke(app, ["list"]).output


def test_the_list_has_every_registered_file_with_its_licence() -> None:
    output = CliRunner().invoke(app, ["list"]).output
    assert "expert_t_faithful" in output
    assert "sface" in output
    assert "Apache-2.0" in output


def test_what_is_here_needs_no_network(folder: Path) -> None:
    (folder / "two.onnx").write_bytes(CONTENT)
    finished = CliRunner().invoke(app, ["pull", "two"])
    assert (finished.exit_code, finished.output) == (0, f"two: {folder / 'two.onnx'}\n")


def test_one_that_cannot_be_had_keeps_no_other_away(folder: Path) -> None:
    (folder / "two.onnx").write_bytes(CONTENT)
    finished = CliRunner().invoke(app, ["pull"])
    assert finished.exit_code == 2
    assert "facemill: one: no source gave it: https://127.0.0.1:9/one: no answer" in finished.output
    assert f"two: {folder / 'two.onnx'}" in finished.output
