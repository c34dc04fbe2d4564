"""The faces that are evaluated on: a folder with a table of faces, or any folder of portraits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from actors.detection import DetectionSettings, MtcnnDetector
from flows.training.portraits import DataError, Face, Portrait, Split, read_face, read_table

Item = TypeVar("Item")

PICTURES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

_NARROWEST_SEARCHED = 40
_LARGEST_SEARCHED = 960
"""Pictures without a table are searched for faces at this many px on the longer side."""


@dataclass(frozen=True)
class Subject:
    """A face with its surroundings.

    Attributes:
        name: file it comes from, relative to the folder; unique.
        source: collection it belongs to; figures are reported by source.
        face: pixels, box and landmarks.
    """

    name: str
    source: str
    face: Face

    @property
    def landmarks(self) -> NDArray[np.float64]:
        """(5, 2) in pixels of the face's picture, centre of the first pixel at 0."""
        return np.asarray(self.face.landmarks_xy, np.float64)


def read_subjects(folder: Path, split: Split, limit: int | None, report: Callable[[str], None]) -> list[Subject]:
    """Read the faces of a folder; what cannot be used is named and left out.

    A folder with ``faces.csv`` (columns split, file, source, box and, if known, landmarks) is read by its table; in any
    other, every picture is a portrait, its largest face is searched for, and its source is the folder that it lies in.

    Args:
        limit: most faces to read, evenly spread over the folder's; None for all.
        report: takes one line for each picture that is left out.

    Raises:
        DataError: there is no such folder, its table lacks a column, or no picture is usable.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Give one with faces.csv, or one of portraits")
    table = folder / "faces.csv"
    candidates = _tabled(folder, split, report) if table.is_file() else _pictures(folder)
    finder = _FaceFinder()
    subjects = []
    ordered = sorted(candidates, key=lambda candidate: (candidate.source, candidate.path.name))
    for portrait in ordered if limit is None else evenly(ordered, limit):
        try:
            subjects.append(_subject(portrait, folder, finder))
        except DataError as error:
            report(f"left out: {error}")
    if not subjects:
        where = f"{table}: of {len(candidates)} rows of split {split!r}" if table.is_file() else f"{folder}"
        raise DataError(f"{where}: no picture of a face to evaluate on. Give a folder with faces.csv, or of portraits")
    return subjects


@dataclass(frozen=True)
class _Candidate:
    """A picture before it is read; without a box, its face has to be found."""

    path: Path
    source: str
    portrait: Portrait | None


def _tabled(folder: Path, split: Split, report: Callable[[str], None]) -> list[_Candidate]:
    """The rows of the table that can be understood."""
    portraits = read_table(folder, split, report)
    return [_Candidate(portrait.path, portrait.source, portrait) for portrait in portraits]


def _pictures(folder: Path) -> list[_Candidate]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    return [_Candidate(path, path.parent.name, None) for path in paths]


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """At most ``count`` of them, evenly spread, in their order."""
    count = min(count, len(items))
    return [items[int((number + 0.5) * len(items) / count)] for number in range(count)]


class _FaceFinder:
    """MTCNN, made when the first picture needs it."""

    def __init__(self) -> None:
        self._detector: MtcnnDetector | None = None

    def portrait(self, candidate: _Candidate) -> Portrait:
        """The picture's largest face, with its landmarks.

        Raises:
            DataError: the picture cannot be read, or shows no face.
        """
        image = cv2.imread(str(candidate.path), cv2.IMREAD_COLOR)
        if image is None:
            raise DataError(f"{candidate.path}: not an image that OpenCV can decode")
        if self._detector is None:
            self._detector = MtcnnDetector(DetectionSettings.model_validate({"min_face": _NARROWEST_SEARCHED}))
        reduction = min(1.0, _LARGEST_SEARCHED / max(image.shape[:2]))
        searched = cv2.resize(image, None, fx=reduction, fy=reduction, interpolation=cv2.INTER_AREA)
        faces = self._detector.detect([np.ascontiguousarray(searched[..., ::-1])])[0]
        if not faces:
            raise DataError(f"{candidate.path}: no face found in it")
        face = max(faces, key=lambda found: found.box.width)
        x0, y0, x1, y1 = (edge / reduction for edge in face.box)
        # The detector's first pixel is [0, 1), as for boxes; a portrait's has its centre at 0.
        landmarks = tuple((float(x) / reduction - 0.5, float(y) / reduction - 0.5) for x, y in face.landmarks)
        return Portrait(candidate.path, candidate.source, False, (x0, y0, x1, y1), landmarks)


def _subject(candidate: _Candidate, folder: Path, finder: _FaceFinder) -> Subject:
    portrait = candidate.portrait
    if portrait is None or portrait.landmarks_xy is None:
        found = finder.portrait(candidate)
        # The table's box stays: widths are measured by it.
        portrait = found if portrait is None else _with_landmarks(portrait, found)
    name = candidate.path.relative_to(folder).as_posix()
    return Subject(name, candidate.source, read_face(portrait))


def _with_landmarks(portrait: Portrait, found: Portrait) -> Portrait:
    return Portrait(portrait.path, portrait.source, portrait.synthetic, portrait.bbox_xyxy, found.landmarks_xy)
