"""Bad input on the command line: one line that says what, where and what to do, exit code 2, nothing started."""

import io
import sys
from importlib.abc import MetaPathFinder
from importlib.metadata import version
from pathlib import Path

import pytest

from flows import entry
from flows.cli import main
from flows.config import load_config
from flows.job import open_job


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    monkeypatch.setattr("sys.argv", ["facemill", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    told = capsys.readouterr().err.strip()
    assert "\n" not in told
    return told


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a.mp4"
    path.parent.mkdir()
    path.write_bytes(b"not looked at before the command line is known to be good")
    return path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("restore", "--nope"), "No such option: --nope"),
        (("restore", "--out"), "Option '--out' requires an argument. See `facemill --help`"),
        (("status",), "Missing argument 'DST'. See `facemill status --help`"),
        (("verify", "--nope", "a"), "No such option: --nope"),
        (("nope",), "No such command 'nope'. See `facemill --help`"),
    ],
)
def test_a_command_line_of_another_form(capsys, monkeypatch, arguments: tuple[str, ...], says: str) -> None:  # type: ignore[no-untyped-def]
    assert refused(capsys, monkeypatch, *arguments).startswith(f"facemill: {says}")


def test_no_such_source(capsys, monkeypatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    told = refused(capsys, monkeypatch, "restore", tmp_path / "none.mp4", "--out", tmp_path / "out")
    assert told.startswith(f"facemill: no such source: {tmp_path / 'none.mp4'}. ")


def test_nothing_found(capsys, monkeypatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "in").mkdir()
    told = refused(capsys, monkeypatch, "restore", tmp_path / "in", "--out", tmp_path / "out")
    assert told.startswith(f"facemill: no video found in {tmp_path / 'in'}")


def test_no_out(capsys, monkeypatch, source: Path) -> None:  # type: ignore[no-untyped-def]
    assert "--out is missing" in refused(capsys, monkeypatch, "restore", source)


def test_out_inside_the_source(capsys, monkeypatch, source: Path) -> None:  # type: ignore[no-untyped-def]
    told = refused(capsys, monkeypatch, "restore", source.parent, "--out", source.parent / "out")
    assert "lies inside the source" in told
    assert not (source.parent / "out").exists()


def test_out_that_would_write_over_the_source(capsys, monkeypatch, source: Path) -> None:  # type: ignore[no-untyped-def]
    assert "would write over" in refused(capsys, monkeypatch, "restore", source, "--out", source.parent)


def test_out_that_is_a_file(capsys, monkeypatch, source: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    taken = tmp_path / "file"
    taken.write_text("x")
    assert str(taken) in refused(capsys, monkeypatch, "restore", source, "--out", taken)


def test_out_that_cannot_be_written(capsys, monkeypatch, source: Path) -> None:  # type: ignore[no-untyped-def]
    told = refused(capsys, monkeypatch, "restore", source, "--out", "/proc/facemill")
    assert told == "facemill: /proc/facemill: the folder cannot be created here. Choose another place"


@pytest.mark.parametrize(
    ("flag", "value", "allowed"),
    [("--scale", "3", "choose 1, 2 or 4"), ("--codec", "vp9", "choose h264 or hevc"), ("--crf", "52", "from 0 to 51")],
)
def test_values_that_are_not_allowed(  # type: ignore[no-untyped-def]
    capsys, monkeypatch, source: Path, tmp_path: Path, flag: str, value: str, allowed: str
) -> None:
    told = refused(capsys, monkeypatch, "restore", source, "--out", tmp_path / "out", flag, value)
    assert flag in told
    assert value in told
    assert allowed in told


def test_a_cluster_that_does_not_answer(capsys, monkeypatch, source: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    address = "127.0.0.1:6"  # a port below 1024 that nothing here listens on
    told = refused(
        capsys, monkeypatch, "restore", source, "--out", tmp_path / "out", "--experts", "none", "--ray-address", address
    )
    assert f"--ray-address {address}: no Ray cluster answers there" in told


def linked(folder: Path, name: str, target: Path) -> Path:
    link = folder / name
    link.symlink_to(target)
    return link


@pytest.mark.parametrize("sources", ["in", "in/**/*.mp4", "list.txt"])
def test_out_inside_a_searched_folder_by_any_name(capsys, monkeypatch, source: Path, sources: str) -> None:  # type: ignore[no-untyped-def]
    root = source.parent.parent
    (root / "list.txt").write_text("in\n")
    linked(root, "elsewhere", source.parent)
    told = refused(capsys, monkeypatch, "restore", root / sources, "--out", root / "elsewhere" / "out")
    assert "lies inside the source" in told


def test_out_over_a_source_by_another_name(capsys, monkeypatch, source: Path) -> None:  # type: ignore[no-untyped-def]
    link = linked(source.parent.parent, "elsewhere", source.parent)
    assert "would write over the source" in refused(capsys, monkeypatch, "restore", source, "--out", link)


def test_out_beside_a_source_that_is_named_itself_is_fine(source: Path) -> None:
    job = open_job(load_config(None, {"sources": [str(source)], "out": str(source.parent / "out"), "experts": "none"}))
    assert job.out == str(source.parent / "out")


def test_a_name_with_a_line_break_is_told_in_one_line(capsys, monkeypatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert "no such source" in refused(capsys, monkeypatch, "restore", tmp_path / "a\nb.mp4", "--out", tmp_path / "out")


def test_an_empty_folder_among_good_sources_is_not_passed_over(
    capsys, monkeypatch, source: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "empty").mkdir()
    told = refused(capsys, monkeypatch, "restore", source, tmp_path / "empty", "--out", tmp_path / "out")
    assert told.startswith(f"facemill: no video found in {tmp_path / 'empty'}")


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["facemill", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert capsys.readouterr().out == f"facemill {version('facemill')}\n"


@pytest.mark.parametrize("command", ["train", "eval"])
def test_help_is_for_a_person(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("sys.argv", ["facemill", command, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr().out
    assert ended.value.code == 0
    assert "--data" in printed
    assert "Raises" not in printed
    assert "``" not in printed


def test_an_interrupt_while_the_command_line_is_loaded_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mock of the moment: nobody can press Ctrl-C that exactly."""

    class Interrupting(MetaPathFinder):
        def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
            if fullname == "flows.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "flows.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "facemill: interrupted before anything was begun\n"


def test_an_output_that_takes_no_more_is_told(capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    with io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True) as full:
        monkeypatch.setattr("sys.stdout", full)
        told = refused(capsys, monkeypatch, "weights", "list")
    assert told == "facemill: standard output takes no more (No space left on device). Give it a place with room"
