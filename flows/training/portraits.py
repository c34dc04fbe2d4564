"""A folder of portraits as training material: which faces it holds, how often each is drawn, their pixels."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.errors import FacemillError
from storage.folders import open_folder

Split = Literal["train", "val"]
Landmarks = tuple[tuple[float, float], ...]
Report = Callable[[str], None]
"""Takes one line for a person."""

COLUMNS = {"split", "file", "source", "box"}
"""What a table of faces must tell; kind and landmarks are optional."""

MARGIN = 0.35
"""What is kept around a face box, as a share of the box's width and height on each side."""

SYNTHETIC_BOOST = 2.0
"""Generated people are drawn this much more often: they vary more in age, skin and light."""


class DataError(FacemillError):
    """The folder cannot be trained on; the message says which it is, what was found and what is expected."""


@dataclass(frozen=True)
class Portrait:
    """One face of the folder, before its pixels are read.

    Attributes:
        path: the image file.
        source: collection that the image comes from; figures are reported by source.
        synthetic: whether the person was generated and does not exist.
        bbox_xyxy: face box (x0, y0, x1, y1) in pixels of the image.
        landmarks_xy: eyes, nose and corners of the mouth, five (x, y) in pixels of the image, left ones first; None
            where the folder does not tell.
    """

    path: Path
    source: str
    synthetic: bool
    bbox_xyxy: tuple[float, float, float, float]
    landmarks_xy: Landmarks | None = None

    @property
    def face_width(self) -> float:
        """Width of the face box in pixels."""
        return self.bbox_xyxy[2] - self.bbox_xyxy[0]


def read_table(folder: Path, split: Split, report: Report) -> list[Portrait]:
    """List the faces that ``faces.csv`` in a folder names, whether or not their images are there.

    The table has the columns split ("train" or "val"), file (its name under ``<folder>/<split>/``), source,
    box (a JSON list x0, y0, x1, y1 in pixels) and, if known, kind ("real" or "synthetic") and landmarks (a JSON list of
    five [x, y]: eyes, nose, corners of the mouth). A row that cannot be understood is named and left out.

    Raises:
        DataError: there is no table, it is not text, or a column is missing.
    """
    table = folder / "faces.csv"
    if not table.is_file():
        raise DataError(
            f"{table}: not found. A training folder has faces.csv (split,file,source,kind,box) and its "
            "images under train/ and val/"
        )
    portraits = []
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            missing = COLUMNS - set(rows.fieldnames or ())
            if missing:
                raise DataError(f"{table}: no column {', '.join(sorted(missing))}")
            for row in rows:
                if row["split"] != split:
                    continue
                try:
                    portraits.append(_portrait(folder, row))
                except ValueError as error:
                    report(f"left out: {table} line {rows.line_num}: {error}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a table in UTF-8 ({error}); save it as CSV") from error
    return portraits


def read_portraits(folder: Path, split: Split, report: Report = lambda line: None) -> list[Portrait]:
    """The faces of a table whose images are there; see :func:`read_table`.

    Args:
        report: takes a line for each row that cannot be understood, and one for all whose images are not there.

    Raises:
        DataError: there is no usable table, or no row of the split has an image and a box.
    """
    portraits = read_table(folder, split, report)
    usable = [portrait for portrait in portraits if portrait.path.is_file()]
    if not usable:
        raise DataError(
            f"{folder / 'faces.csv'}: {len(portraits)} rows of split {split!r}, none with an image file and a face box"
        )
    if len(usable) < len(portraits):
        report(f"left out: {len(portraits) - len(usable)} of {len(portraits)} faces of {split} have no image file")
    return usable


def _portrait(folder: Path, row: dict[str, str | None]) -> Portrait:
    """One row.

    Raises:
        ValueError: it cannot be understood; the message says what.
    """
    file, source = PurePosixPath(row["file"] or ""), row["source"]
    if not file.name or file.is_absolute() or ".." in file.parts:
        raise ValueError(f"file {row['file']!r} is not a name in the folder of its split")
    if source is None:
        raise ValueError("it ends before its source")
    x0, y0, x1, y1 = _numbers(row["box"], (4,), "box").tolist()
    if not (x1 > x0 and y1 > y0):
        raise ValueError(f"box {row['box']} is empty")
    landmarks = None
    if row.get("landmarks") not in (None, "", "null"):
        points = _numbers(row["landmarks"], (5, 2), "landmarks").tolist()
        landmarks = tuple((x, y) for x, y in points)
    path = folder / str(row["split"]) / file
    return Portrait(path, source, row.get("kind") == "synthetic", (x0, y0, x1, y1), landmarks)


def _numbers(cell: str | None, shape: tuple[int, ...], column: str) -> NDArray[np.float64]:
    """A JSON cell as an array of a shape."""
    try:
        numbers = np.array(json.loads(cell or ""), np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{column} {cell!r} are not numbers ({error})") from error
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise ValueError(f"{column} {cell!r} are not {' x '.join(map(str, shape))} finite numbers")
    return numbers


def draw_weights(portraits: Sequence[Portrait]) -> NDArray[np.float64]:
    """Probability of each portrait to be drawn, (N,), summing to 1.

    A source counts by the square root of its size, so that one large collection of similar people does not
    decide what a face looks like; generated people count :data:`SYNTHETIC_BOOST` times.
    """
    sizes = Counter(portrait.source for portrait in portraits)
    weights = np.array([(SYNTHETIC_BOOST if p.synthetic else 1.0) / math.sqrt(sizes[p.source]) for p in portraits])
    return weights / weights.sum()


@dataclass(frozen=True)
class Face:
    """A portrait cut around its face.

    Attributes:
        pixels_rgb: (H, W, 3) uint8, possibly a read-only view into a memory map.
        bbox_xyxy: face box in pixels of ``pixels_rgb``.
        landmarks_xy: eyes, nose and corners of the mouth in pixels of ``pixels_rgb``, or None.
    """

    pixels_rgb: NDArray[np.uint8]
    bbox_xyxy: tuple[float, float, float, float]
    landmarks_xy: Landmarks | None = None

    @property
    def width(self) -> float:
        """Width of the face box in pixels."""
        return self.bbox_xyxy[2] - self.bbox_xyxy[0]


def read_face(portrait: Portrait) -> Face:
    """Decode a portrait and keep its face with :data:`MARGIN` around it.

    Raises:
        DataError: the image cannot be decoded, or the face box lies outside of it.
    """
    image = cv2.imread(str(portrait.path), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{portrait.path}: not an image that OpenCV can decode")
    height, width = image.shape[:2]
    x0, y0, x1, y1 = portrait.bbox_xyxy
    pad_x, pad_y = MARGIN * (x1 - x0), MARGIN * (y1 - y0)
    left, top = max(0, int(x0 - pad_x)), max(0, int(y0 - pad_y))
    right, bottom = min(width, math.ceil(x1 + pad_x)), min(height, math.ceil(y1 + pad_y))
    if right <= left or bottom <= top:
        raise DataError(f"{portrait.path}: its face box {portrait.bbox_xyxy} lies outside of its {width}x{height} px")
    pixels_rgb = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_BGR2RGB)
    points = portrait.landmarks_xy
    landmarks = None if points is None else tuple((x - left, y - top) for x, y in points)
    return Face(pixels_rgb.astype(np.uint8, copy=False), (x0 - left, y0 - top, x1 - left, y1 - top), landmarks)


_CACHE_LAYOUT = b"2"
"""Changes with the layout of the files, so that none of another layout is read."""


class FaceCache:
    """Decoded faces in one flat, memory-mapped file: decoding for every patch would cost more than a step.

    The file is named after its content (paths, sizes, boxes), written once and renamed into place, so that
    several trainings share it and a broken write is never read. An image that cannot be decoded is left out.

    Args:
        portraits: the faces.
        folder: takes the file.
        report: takes a line for each face that is left out, when the file is written.

    Attributes:
        portraits: the faces that it holds, in its order.

    Raises:
        DataError: no image can be decoded.
        storage.errors.DestinationError: the folder cannot be made, or takes no files.
    """

    def __init__(self, portraits: Sequence[Portrait], folder: Path, report: Report = lambda line: None) -> None:
        digest = hashlib.sha256(_CACHE_LAYOUT)
        for p in portraits:
            digest.update(f"{p.path.name} {p.path.stat().st_size} {p.bbox_xyxy} {p.landmarks_xy} {MARGIN}\n".encode())
        stem = folder / f"faces-{digest.hexdigest()[:16]}"
        pixels_path, index_path = stem.with_suffix(".u8"), stem.with_suffix(".json")
        if not (pixels_path.is_file() and index_path.is_file()):
            open_folder(folder)
            _write_cache(portraits, pixels_path, index_path, report)
        self._index = json.loads(index_path.read_text())
        self._pixels = np.memmap(pixels_path, dtype=np.uint8, mode="r")
        self.portraits = [portraits[entry["portrait"]] for entry in self._index]

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, place: int) -> Face:
        entry = self._index[place]
        height, width, channels = entry["shape"]
        start = entry["offset"]
        flat = self._pixels[start : start + height * width * channels]
        points = entry["landmarks_xy"]
        landmarks = None if points is None else tuple((x, y) for x, y in points)
        return Face(flat.reshape(height, width, channels), tuple(entry["bbox_xyxy"]), landmarks)


def _write_cache(portraits: Sequence[Portrait], pixels_path: Path, index_path: Path, report: Report) -> None:
    index: list[dict[str, object]] = []
    offset = 0
    draft = pixels_path.with_suffix(f".u8-{os.getpid()}")
    try:
        with draft.open("wb") as out:
            for number, portrait in enumerate(portraits):
                try:
                    face = read_face(portrait)
                except DataError as error:
                    report(f"left out: {error}")
                    continue
                out.write(face.pixels_rgb.tobytes())
                index.append(
                    {
                        "portrait": number,
                        "offset": offset,
                        "shape": face.pixels_rgb.shape,
                        "bbox_xyxy": face.bbox_xyxy,
                        "landmarks_xy": face.landmarks_xy,
                    }
                )
                offset += face.pixels_rgb.size
        if not index:
            raise DataError(f"{portraits[0].path.parent}: none of {len(portraits)} images can be decoded")
        index_draft = index_path.with_suffix(f".json-{os.getpid()}")
        index_draft.write_text(json.dumps(index))
        draft.replace(pixels_path)
        index_draft.replace(index_path)
    finally:
        draft.unlink(missing_ok=True)
