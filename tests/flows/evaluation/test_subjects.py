from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from actors.detection import FaceFound, MtcnnDetector
from actors.geometry import Box
from flows.evaluation.subjects import read_subjects
from flows.training.portraits import DataError


def test_what_cannot_be_used_is_named_and_left_out(portraits_folder: Path) -> None:
    told: list[str] = []
    subjects = read_subjects(portraits_folder, "val", None, told.append)
    assert {(s.name, s.source) for s in subjects} == {
        ("val/a.png", "studio"),
        ("val/b.png", "studio"),
        ("val/c.png", "street"),
    }
    assert len(told) == 2
    assert any("broken.png" in line for line in told)
    assert any("faces.csv line 6" in line for line in told)
    assert all("\n" not in line for line in told)


def test_a_few_are_spread_over_the_folder(portraits_folder: Path) -> None:
    few = read_subjects(portraits_folder, "val", 2, lambda line: None)
    assert {subject.source for subject in few} == {"studio", "street"} or len(few) == 1
    again = read_subjects(portraits_folder, "val", 2, lambda line: None)
    assert [s.name for s in few] == [s.name for s in again]


def test_a_folder_without_a_table_is_searched_for_faces(tmp_path: Path) -> None:
    (tmp_path / "crew").mkdir()
    cv2.imwrite(str(tmp_path / "crew" / "eileen.png"), astronaut()[..., ::-1])
    cv2.imwrite(str(tmp_path / "crew" / "sleeve.png"), astronaut()[400:, :150, ::-1])
    (tmp_path / "crew" / "note.jpg").write_bytes(b"not a picture")
    told: list[str] = []
    (subject,) = read_subjects(tmp_path, "val", None, told.append)
    assert (subject.name, subject.source) == ("crew/eileen.png", "crew")
    assert 80 < subject.face.width < 130
    eyes = subject.landmarks[:2]
    assert eyes[0][0] < eyes[1][0]
    assert sorted("note.jpg" in line for line in told) == [False, True]
    assert any("no face found" in line for line in told)


def test_a_table_without_landmarks_has_them_found(portraits_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    shutil.copytree(portraits_folder, folder)
    lines = (folder / "faces.csv").read_text().splitlines()
    rows = [lines[0].removesuffix(",landmarks"), *(line.rsplit(',"[[', 1)[0] for line in lines[1:2])]
    (folder / "faces.csv").write_text("\n".join(rows) + "\n")
    (subject,) = read_subjects(folder, "val", None, lambda line: None)
    (known, *_) = read_subjects(portraits_folder, "val", 1, lambda line: None)
    assert subject.face.width == pytest.approx(280)
    assert subject.landmarks.shape == known.landmarks.shape == (5, 2)


def test_landmarks_that_are_found_have_the_first_pixels_centre_at_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = FaceFound(Box(100, 100, 200, 220), 0.99, ((120.5, 140.5),) * 5)
    monkeypatch.setattr(MtcnnDetector, "__init__", lambda self, settings: None)
    monkeypatch.setattr(MtcnnDetector, "detect", lambda self, frames: [[found]])
    cv2.imwrite(str(tmp_path / "a.png"), astronaut()[..., ::-1])
    (subject,) = read_subjects(tmp_path, "val", None, lambda line: None)
    left, top = 100 - subject.face.bbox_xyxy[0], 100 - subject.face.bbox_xyxy[1]
    np.testing.assert_allclose(subject.landmarks[0], (120 - left, 140 - top))


@pytest.mark.parametrize("kind", ["absent", "empty", "no column", "no usable"])
def test_a_folder_without_faces_is_refused_in_a_line(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "faces"
    if kind != "absent":
        folder.mkdir()
    if kind == "no column":
        (folder / "faces.csv").write_text("split,file\nval,a.png\n")
    if kind == "no usable":
        (folder / "faces.csv").write_text('split,file,source,box\nval,a.png,x,"[0, 0, 9, 9]"\n')
    with pytest.raises(DataError, match=str(folder)) as refused:
        read_subjects(folder, "val", None, lambda line: None)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("file", ["/etc/a.png", "../a.png"])
def test_a_row_that_leads_out_of_the_folder_is_named_and_left_out(tmp_path: Path, file: str) -> None:
    (tmp_path / "faces.csv").write_text(f'split,file,source,box\nval,{file},x,"[0, 0, 9, 9]"\n')
    told: list[str] = []
    with pytest.raises(DataError):
        read_subjects(tmp_path, "val", None, told.append)
    assert f"line 2: file {file!r} is not a name in the folder of its split" in told[0]
