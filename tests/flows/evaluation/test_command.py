"""The command: what it prints and writes, and how it refuses."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import flows.evaluate
import flows.evaluation.video.command
from flows.cli import main
from flows.evaluation.figures import Meter
from flows.evaluation.restorers import ExpertChoice
from flows.evaluation.video.stages import Stages
from flows.evaluation.video.trial import ClipPlan
from tests.flows.evaluation.conftest import Sharpened, embedding_file

KEYS = "restorer width strength source n psnr ssim lpips cosine sharpness ms".split()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, meter: Meter, tmp_path: Path) -> None:
    """Networks that measure in little time, experts that are none, and a cache of its own."""
    monkeypatch.setattr(flows.evaluate, "load_meter", lambda device: meter)
    monkeypatch.setattr(ExpertChoice, "load", lambda self, name: Sharpened(name, 0.3 if name == "expert_t" else 0.8))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["facemill", "eval", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    assert isinstance(left.value.code, int)
    return left.value.code


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run(monkeypatch, *arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.strip().splitlines()
    assert lines[-1].startswith("facemill: ")
    return lines[-1]


@pytest.mark.usefixtures("small")
def test_json_is_rows_and_nothing_else(monkeypatch, capsys, portraits_folder: Path) -> None:  # type: ignore[no-untyped-def]
    options = ("--widths", 64, "--strengths", "medium", "--clips", 0, "--faces", 2, "--json")
    assert run(monkeypatch, "--data", portraits_folder, *options) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(list(row) == KEYS for row in rows)
    overall = [row for row in rows if row["source"] == "all"]
    assert [row["restorer"] for row in overall] == ["bicubic", "lanczos", "expert_t", "expert_f", "routed"]
    figures = {row["restorer"]: row for row in overall}
    assert figures["routed"]["psnr"] == figures["expert_t"]["psnr"] != figures["expert_f"]["psnr"]
    assert {row["source"] for row in rows} > {"all"}


@pytest.mark.usefixtures("small")
def test_tables_page_and_files(monkeypatch, capsys, portraits_folder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    options = ("--widths", 100, "--strengths", "hard", "--clips", 1, "--faces", 1, "--tiles", 1, "--q-low", 1000)
    out = tmp_path / "page"
    assert run(monkeypatch, "--data", portraits_folder, *options, "--out", out) == 0
    told = capsys.readouterr().out
    for table in ("Over the widths that", "By width", "By source", "Does routing pay?", "Flicker"):
        assert table in told
    with (out / "rows.csv").open() as lines:
        assert len(list(csv.DictReader(lines))) == len(json.loads((out / "rows.json").read_text())) == 10
    assert {row["restorer"] for row in json.loads((out / "flicker.json").read_text())} >= {"bicubic", "routed"}
    assert "original" in (out / "index.html").read_text()
    assert sorted(path.stem for path in (out / "tiles").iterdir()) == [
        f"001-{name}" for name in ("bicubic", "degraded", "expert_f", "original", "routed")
    ]


@pytest.mark.usefixtures("small")
def test_calibration_writes_its_curve(monkeypatch, capsys, portraits_folder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    options = ("--calibrate", "q_low", "--widths", 100, "--strengths", "clean,hard", "--faces", 2, "--out", tmp_path)
    assert run(monkeypatch, "--data", portraits_folder, *options) == 0
    assert "best q_low" in capsys.readouterr().out
    found = json.loads((tmp_path / "calibration.json").read_text())
    assert found["faces"] == 4
    assert (tmp_path / "calibration.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--restorers", "bicubic,best"), "--restorers: best; choose from bicubic,lanczos"),
        (("--strengths", "awful"), "--strengths: awful; choose from clean"),
        (("--widths", "64,wide"), "--widths: wide is not a whole number of px from 32 to 400"),
        (("--widths", "9999"), "--widths: 9999"),
        (("--calibrate", "q_low", "--widths", "100,50"), "--widths: 50 px: q_low divides only faces of 100 to"),
        (("--calibrate", "q_low", "--widths", "150"), "--widths: 150 px: q_low divides only"),
        (("--shipped-only",), "--shipped-only: only with --video"),
        (("--video", "--peers"), "--peers: only without --video"),
        (("--video", "--q-low", "0"), "--q-low: only without --video"),
        (("--video", "--strengths", "awful"), "--strengths: awful; choose from clean"),
        (("--video", "--widths", "9999"), "--widths: 9999"),
        (("--device", "cuda:77"), "--device cuda:77: torch cannot use it here"),
    ],
)
@pytest.mark.usefixtures("small")
def test_bad_options_are_refused_in_a_line(monkeypatch, capsys, tmp_path: Path, options, told: str) -> None:  # type: ignore[no-untyped-def]
    assert told in refused(monkeypatch, capsys, "--data", tmp_path, *options)


@pytest.mark.usefixtures("small")
def test_a_folder_without_faces_is_refused(monkeypatch, capsys, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.png").write_bytes(b"not a picture")
    assert f"{tmp_path}: no picture of a face" in refused(monkeypatch, capsys, "--data", tmp_path)


@pytest.mark.usefixtures("small")
def test_faces_that_are_all_too_narrow_are_refused(monkeypatch, capsys, portraits_folder: Path) -> None:  # type: ignore[no-untyped-def]
    told = refused(monkeypatch, capsys, "--data", portraits_folder, "--widths", 400, "--restorers", "bicubic")
    assert "no face is wide enough for 400 px" in told


@pytest.fixture
def recogniser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A small network in the place of SFace: the published one does not ship."""
    path = embedding_file(tmp_path / "sface.onnx")
    monkeypatch.setattr(flows.evaluation.video.command, "verify_weights", lambda entry: path)


@pytest.mark.usefixtures("recogniser")
def test_clips_as_shipped_of_the_widths_and_strengths_asked_for(  # type: ignore[no-untyped-def]
    monkeypatch, capsys, portraits_folder: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(flows.evaluate, "ClipPlan", partial(ClipPlan, frames=3))
    options = (
        "--video",
        "--clips",
        1,
        "--widths",
        60,
        "--strengths",
        "hard",
        "--shipped-only",
        "--threads",
        1,
        "--json",
    )
    assert run(monkeypatch, "--data", portraits_folder, *options, "--out", tmp_path / "out") == 0
    told = json.loads(capsys.readouterr().out)
    assert {(row["setting"], row["kind"]) for row in told["clips of known truth"]} == {
        ("as shipped", kind) for kind in ("static", "60 px")
    }
    (face,) = json.loads((tmp_path / "out" / "video_faces.json").read_text())
    assert " 60 px still hard" in face["clip"]


@pytest.mark.usefixtures("recogniser")
def test_clips_are_restored_by_the_models_given(monkeypatch, capsys, portraits_folder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "t.safetensors"
    path.write_bytes(b"cut off")
    told = refused(monkeypatch, capsys, "--data", portraits_folder, "--video", "--clips", 1, "--weights-t", path)
    assert str(path) in told


@pytest.mark.usefixtures("recogniser")
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_trial_leaves_no_clip_behind(  # type: ignore[no-untyped-def]
    monkeypatch, portraits_folder: Path, tmp_path: Path, ending: signal.Signals
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = []

    def ended(*_: object, **__: object) -> None:
        left.append(len(list(tmp_path.glob("facemill-eval-*"))))
        os.kill(os.getpid(), ending)

    def unheeded(number: int, frame: object) -> None:
        pytest.fail(f"{signal.Signals(number).name} was not heeded")

    take_away = shutil.rmtree

    def told_twice(*arguments: Any, **options: Any) -> None:
        os.kill(os.getpid(), ending)
        take_away(*arguments, **options)

    monkeypatch.setattr(Stages, "process", ended)
    monkeypatch.setattr(shutil, "rmtree", told_twice)
    before = signal.signal(ending, unheeded)
    try:
        assert run(monkeypatch, "--data", portraits_folder, "--video", "--clips", 1, "--widths", 60) == 130
        assert signal.getsignal(ending) is unheeded
    finally:
        signal.signal(ending, before)
    assert left == [1]
    assert not list(tmp_path.glob("facemill-eval-*"))


@pytest.mark.usefixtures("recogniser")
def test_no_clips_at_all_are_refused(monkeypatch, capsys, portraits_folder: Path) -> None:  # type: ignore[no-untyped-def]
    told = refused(monkeypatch, capsys, "--data", portraits_folder, "--video", "--clips", 0)
    assert told == "facemill: --clips 0: then give real clips by --real"


def test_absent_networks_come_with_the_command_that_fetches_them(monkeypatch, capsys, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("FACEMILL_WEIGHTS", str(tmp_path))
    told = refused(monkeypatch, capsys, "--data", tmp_path)
    assert "`facemill weights pull lpips_alex sface`" in told


@pytest.mark.usefixtures("small")
def test_weights_that_do_not_fit_are_refused(monkeypatch, capsys, portraits_folder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.undo()
    monkeypatch.setattr(flows.evaluate, "load_meter", lambda device: None)
    path = tmp_path / "t.safetensors"
    path.write_bytes(b"cut off")
    options = ("--weights-t", path, "--widths", 64, "--restorers", "expert_t", "--faces", 1, "--clips", 0)
    told = refused(monkeypatch, capsys, "--data", portraits_folder, *options, "--cache", tmp_path / "cache")
    assert str(path) in told
