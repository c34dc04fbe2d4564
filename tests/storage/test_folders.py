from pathlib import Path

import pytest

from storage.errors import DestinationError
from storage.folders import open_folder


def test_a_folder_is_made_with_those_above_it_and_holds_nothing(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert not list(folder.iterdir())
    assert open_folder(folder) == folder


def test_what_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DestinationError, match=r"file/inside: the folder cannot be made \(Not a directory\); give another"
    ):
        open_folder(tmp_path / "file" / "inside")


def test_a_folder_that_takes_no_file_is_named() -> None:
    """/proc: there whoever may write everywhere cannot, either."""
    with pytest.raises(DestinationError, match="/proc: the folder takes no file"):
        open_folder(Path("/proc"))
