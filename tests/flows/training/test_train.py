from __future__ import annotations

import copy
import csv
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from actors.experts.transformer import TransformerExpert
from flows.cli import main
from flows.perception.lpips import ALEXNET, Lpips
from flows.perception.sface import SFace
from flows.train import Stage, train
from flows.training.checkpoint import Progress, save_state
from flows.training.loop import Training, TrainingFiles
from flows.training.losses import Batch, Perception
from flows.training.portraits import DataError
from flows.training.stages import CURRICULA
from flows.training.validation import Sample, Score
from storage.errors import FacemillError, UsageError
from weights import find_weights

EXPERT_T_PARAMETERS = sum(parameter.numel() for parameter in TransformerExpert().parameters())


def test_the_command_trains_from_a_folder_of_portraits(portraits_folder: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(train)
    out, cache = tmp_path / "expert_t.safetensors", tmp_path / "cache"
    command = f"--expert t --data {portraits_folder} --out {out} --cache {cache} --steps 1 --batch 1 --patch 16"
    finished = CliRunner().invoke(app, [*command.split(), "--validation-faces", "1"])
    assert finished.exit_code == 0, finished.output
    assert "clean" in finished.output
    assert out.is_file()
    card = TrainingFiles.beside(out).card.read_text()
    assert not out.with_suffix(".md").exists()
    assert all(f"\n- {kind}" in card for kind in ("Glasses", "Beards", "Profiles", "Occluded faces"))
    assert "Apache License 2.0" in card
    assert f"TransformerExpert, {EXPERT_T_PARAMETERS:,} parameters, x4, pixels stage. 1 optimizer steps" in card
    assert "| clean |" in card
    assert "| steps | 1 |" in card


def test_an_interrupted_training_is_saved_and_says_so(
    portraits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepped = Training.step

    def interrupted(training: Training, batch: Batch) -> float:
        os.kill(os.getpid(), signal.SIGINT)
        return stepped(training, batch)

    app = typer.Typer()
    app.command()(train)
    command = f"--expert f --data {portraits_folder} --out {tmp_path / 'f.safetensors'} --cache {tmp_path / 'cache'}"
    options = [*command.split(), *"--batch 1 --patch 16 --validation-faces 1".split()]
    monkeypatch.setattr(Training, "step", interrupted)
    stopped = CliRunner().invoke(app, [*options, "--steps", "3"])
    assert stopped.exit_code == 130, stopped.output
    assert "stopped at step 1; the same command again continues" in stopped.output
    monkeypatch.setattr(Training, "step", stepped)
    continued = CliRunner().invoke(app, [*options, "--steps", "2"])
    assert (continued.exit_code, "continuing at step 1 of 2" in continued.output) == (0, True), continued.output
    assert TrainingFiles.beside(tmp_path / "f.safetensors").card.is_file()


def test_a_training_interrupted_in_its_last_validation_is_through(
    portraits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate = Training.validate

    def interrupted(training: Training, samples: list[Sample], loss: float) -> list[Score]:
        os.kill(os.getpid(), signal.SIGINT)
        return validate(training, samples, loss)

    monkeypatch.setattr(Training, "validate", interrupted)
    out = tmp_path / "f.safetensors"
    scores = train("f", portraits_folder, out, cache=tmp_path, steps=1, batch=1, patch=16, validation_faces=1)
    assert scores
    assert TrainingFiles.beside(out).card.is_file()


def test_faces_too_narrow_for_an_expert_are_said_to_be(
    portraits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = replace(CURRICULA["f"], recipe=replace(CURRICULA["f"].recipe, face_width=(300, 400)))
    monkeypatch.setitem(CURRICULA, "f", wide)
    with pytest.raises(DataError, match="none of 3 faces is 600 px wide"):
        train("f", portraits_folder, tmp_path / "expert_f.safetensors", cache=tmp_path / "cache", steps=1)


def test_a_patch_that_windows_do_not_tile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--patch is 20 px"):
        train("t", tmp_path, tmp_path / "expert_t.safetensors", patch=20)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"steps": 0}, "--steps is 0; it must be at least 1"),
        ({"batch": 0}, "--batch is 0"),
        ({"minutes": 0.0}, "--minutes is 0; it must be above 0"),
        ({"rate": float("nan")}, "--rate is nan"),
        ({"validation_faces": 0}, "--validation-faces is 0"),
        ({"adversary": -1.0}, "--adversary is -1"),
        ({"stage": "natural", "vgg": -1.0}, "--vgg is -1; it must be at least 0"),
        ({"identity": 1.0}, "--identity weighs a term of --stage faithful and natural; --stage is pixels"),
        ({"device": "cuda:99"}, "--device cuda:99: torch cannot use it here"),
        ({"device": "abacus"}, "--device abacus: torch cannot use it here"),
    ],
)
def test_an_option_that_cannot_be_trained_with_is_refused_before_anything_is_written(
    portraits_folder: Path, tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(UsageError, match=reason) as refused:
        train("t", portraits_folder, tmp_path / "expert_t.safetensors", cache=cache, **options)
    assert "\n" not in str(refused.value)
    assert not cache.exists()


def test_weights_of_another_network_are_refused_to_begin_with(portraits_folder: Path, tmp_path: Path) -> None:
    begin = find_weights("expert_f_faithful").path
    with pytest.raises(UsageError, match="holds a FrequencyExpert, but this expert is a TransformerExpert"):
        train("t", portraits_folder, tmp_path / "expert_t.safetensors", begin=begin, cache=tmp_path / "cache")


def test_a_training_is_continued_at_the_size_of_its_saved_network(portraits_folder: Path, tmp_path: Path) -> None:
    small = TransformerExpert(channels=16)
    out = tmp_path / "expert_t.safetensors"
    save_state(
        TrainingFiles.beside(out).state,
        small,
        copy.deepcopy(small),
        torch.optim.AdamW(small.parameters()),
        Progress("t", 1, 1, 1),
    )
    train("t", portraits_folder, out, cache=tmp_path / "cache", steps=1, validation_faces=1)
    shapes = {name: value.shape for name, value in load_file(out).items()}
    assert shapes == {name: value.shape for name, value in small.state_dict().items()}


def test_a_training_that_is_through_is_a_command_that_succeeded(
    portraits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--steps", "1", "--batch", "1", "--validation-faces", "1", "--cache", tmp_path / "cache"]
    command = [
        "train",
        "--expert",
        "t",
        "--data",
        portraits_folder,
        "--out",
        tmp_path / "expert_t.safetensors",
        *options,
    ]
    monkeypatch.setattr("sys.argv", ["facemill", *map(str, command)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("f.pth", "name the file of weights to write, NAME.safetensors"),
        ("folder.safetensors", "name the file of weights to write, NAME.safetensors"),
        ("file/f.safetensors", "file: the folder cannot be made"),
        ("/proc/f.safetensors", "/proc: the folder takes no file"),
    ],
)
def test_a_place_that_takes_no_weights_is_refused_before_the_first_step(
    name: str, told: str, portraits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Training, "step", lambda *_: pytest.fail("it began"))
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").write_text("")
    out = tmp_path / name  # an absolute name stays as it is
    with pytest.raises(FacemillError, match=told):
        train("f", portraits_folder, out, cache=tmp_path / "cache", steps=1)


def test_a_folder_without_faces_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"faces\.csv: not found"):
        train("t", tmp_path, tmp_path / "expert_t.safetensors")


@pytest.mark.parametrize("stage", ["faithful", "natural"])
def test_a_later_stage_begins_with_faithful_weights_and_measures_what_people_see(
    portraits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    """The networks of the loss have random weights here: the published ones do not ship."""
    recogniser = SFace(nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(3 * 7 * 7, 8)))
    perception = Perception(Lpips(ALEXNET), Lpips(ALEXNET), recogniser)
    monkeypatch.setattr("flows.training.stages.load_perception", lambda device: perception)
    begin = find_weights("expert_t_faithful").path
    out = tmp_path / "tuned.safetensors"
    again = {"cache": tmp_path / "cache", "batch": 1, "patch": 32, "adversary": 0.1, "validation_faces": 1}
    scores = train("t", portraits_folder, out, stage, steps=1, **again)
    assert all(score.expert["lpips"] > 0 for score in scores)
    before, after = load_file(begin), load_file(out)
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    assert 0 < moved < 0.01
    train("t", portraits_folder, out, stage, steps=2, **again)
    with TrainingFiles.beside(out).curve.open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["step"] for row in rows] == ["1"] * 3 + ["2"] * 3
    assert float(rows[0]["expert_lpips"]) == pytest.approx(scores[0].expert["lpips"], rel=1e-3)
    assert "| adversary | 0.1 |" in TrainingFiles.beside(out).card.read_text()
