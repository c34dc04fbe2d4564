"""What an expert of a job is made of is found, verified and hashed before anything starts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from weights import WeightsError, choose_weights, find_model, mixed_sha256, read_registry


def test_an_expert_is_its_own_sets_unless_told_otherwise() -> None:
    chosen = choose_weights("expert_t", fidelity=0.25)
    entries = read_registry()
    sets = {name: entries[name].sha256 for name in ("expert_t_faithful", "expert_t_natural")}
    assert dict(chosen.files) == sets
    assert chosen.sha256 == mixed_sha256(sets, 0.25)
    assert chosen.model is None


def test_a_model_is_identified_by_its_content_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.pth").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    chosen = choose_weights("expert_f", fidelity=0.25, model="model.pth")
    assert chosen.files == (("expert_f", hashlib.sha256(b"weights").hexdigest()),)
    assert chosen.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert chosen.model == str(tmp_path / "model.pth"), "workers have other working folders"


def test_a_registered_name_is_a_model_too() -> None:
    assert find_model("expert_t_natural") == read_registry()["expert_t_natural"].path
    assert choose_weights("expert_t", model="expert_t_natural").model == "expert_t_natural"


def test_a_model_that_is_not_fetched_yet_comes_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMILL_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match="facemill weights pull gfpgan_v1_4"):
        find_model("gfpgan_v1_4")
    (tmp_path / "GFPGANv1.4.pth").write_bytes(b"something else")
    with pytest.raises(WeightsError, match="registered is e2cd4703ab14"):
        find_model("gfpgan_v1_4")


def test_what_is_neither_file_nor_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="neither a file nor a registered name"):
        find_model("gfpgan")
    with pytest.raises(WeightsError, match="is a folder"):
        find_model(str(tmp_path))
