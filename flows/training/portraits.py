"""A folder of portraits as training material: which faces it holds, how often each is drawn, their pixels."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from storage.errors import FacemillError

Split = Literal["train", "val"]
Landmarks = tuple[tuple[float, float], ...]

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


def read_portraits(folder: Path, split: Split) -> list[Portrait]:
    """List the faces that ``faces.csv`` in a folder names.

    The table has the columns split ("train" or "val"), file (its name under ``<folder>/<split>/``), source,
    kind ("real" or "synthetic"), box (a JSON list x0, y0, x1, y1 in pixels) and, if known, landmarks (a JSON list of
    five [x, y]: eyes, nose, corners of the mouth).

    Raises:
        DataError: there is no table, a column is missing, or no row of the split has an image and a box.
    """
    table = folder / "faces.csv"
    if not table.is_file():
        raise DataError(
            f"{table}: not found. A training folder has faces.csv (split,file,source,kind,box) and its "
            "images under train/ and val/"
        )
    with table.open(newline="") as lines:
        rows = csv.DictReader(lines)
        missing = {"split", "file", "source", "kind", "box"} - set(rows.fieldnames or ())
        if missing:
            raise DataError(f"{table}: no column {', '.join(sorted(missing))}")
        portraits = [_portrait(folder, row) for row in rows if row["split"] == split]
    usable = [portrait for portrait in portraits if portrait.path.is_file() and portrait.face_width > 0]
    if not usable:
        raise DataError(f"{table}: {len(portraits)} rows of split {split!r}, none with an image file and a face box")
    return usable


def _portrait(folder: Path, row: dict[str, str]) -> Portrait:
    x0, y0, x1, y1 = json.loads(row["box"])
    path = folder / row["split"] / row["file"]
    points = json.loads(row.get("landmarks") or "null")
    landmarks = None if points is None else tuple((float(x), float(y)) for x, y in points)
    return Portrait(path, row["source"], row["kind"] == "synthetic", (x0, y0, x1, y1), landmarks)


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
        DataError: the image cannot be decoded.
    """
    image = cv2.imread(str(portrait.path), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"{portrait.path}: not an image that OpenCV can decode")
    height, width = image.shape[:2]
    x0, y0, x1, y1 = portrait.bbox_xyxy
    pad_x, pad_y = MARGIN * (x1 - x0), MARGIN * (y1 - y0)
    left, top = max(0, int(x0 - pad_x)), max(0, int(y0 - pad_y))
    right, bottom = min(width, math.ceil(x1 + pad_x)), min(height, math.ceil(y1 + pad_y))
    pixels_rgb = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_BGR2RGB)
    points = portrait.landmarks_xy
    landmarks = None if points is None else tuple((x - left, y - top) for x, y in points)
    return Face(pixels_rgb.astype(np.uint8, copy=False), (x0 - left, y0 - top, x1 - left, y1 - top), landmarks)


class FaceCache:
    """Decoded faces in one flat, memory-mapped file: decoding for every patch would cost more than a step.

    The file is named after its content (paths, sizes, boxes), written once and renamed into place, so that
    several trainings share it and a broken write is never read.
    """

    def __init__(self, portraits: Sequence[Portrait], folder: Path) -> None:
        self._portraits = list(portraits)
        digest = hashlib.sha256()
        for p in self._portraits:
            digest.update(f"{p.path.name} {p.path.stat().st_size} {p.bbox_xyxy} {p.landmarks_xy} {MARGIN}\n".encode())
        stem = folder / f"faces-{digest.hexdigest()[:16]}"
        pixels_path, index_path = stem.with_suffix(".u8"), stem.with_suffix(".json")
        if not (pixels_path.is_file() and index_path.is_file()):
            folder.mkdir(parents=True, exist_ok=True)
            self._write(pixels_path, index_path)
        self._index = json.loads(index_path.read_text())
        self._pixels = np.memmap(pixels_path, dtype=np.uint8, mode="r")

    def _write(self, pixels_path: Path, index_path: Path) -> None:
        index, offset = [], 0
        draft = pixels_path.with_suffix(f".u8-{os.getpid()}")
        with draft.open("wb") as out:
            for portrait in self._portraits:
                face = read_face(portrait)
                out.write(face.pixels_rgb.tobytes())
                index.append(
                    {
                        "offset": offset,
                        "shape": face.pixels_rgb.shape,
                        "bbox_xyxy": face.bbox_xyxy,
                        "landmarks_xy": face.landmarks_xy,
                    }
                )
                offset += face.pixels_rgb.size
        index_draft = index_path.with_suffix(f".json-{os.getpid()}")
        index_draft.write_text(json.dumps(index))
        draft.replace(pixels_path)
        index_draft.replace(index_path)

    def __len__(self) -> int:
        return len(self._portraits)

    def __getitem__(self, place: int) -> Face:
        entry = self._index[place]
        height, width, channels = entry["shape"]
        start = entry["offset"]
        flat = self._pixels[start : start + height * width * channels]
        points = entry["landmarks_xy"]
        landmarks = None if points is None else tuple((x, y) for x, y in points)
        return Face(flat.reshape(height, width, channels), tuple(entry["bbox_xyxy"]), landmarks)
