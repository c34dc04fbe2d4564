"""A folder of portraits of one public-domain face, and a second one that is its mirror image."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.data import astronaut

from flows.training.portraits import Face

ASTRONAUT_FACE = (177.0, 60.0, 277.0, 190.0)
ENLARGED = 3


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks this small are slower on several threads, and much slower beside other work."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def face() -> Face:
    """A face 300 px wide with some surroundings."""
    left, top, right, bottom = 140, 20, 320, 230
    view = cv2.resize(astronaut()[top:bottom, left:right], None, fx=ENLARGED, fy=ENLARGED)
    x0, y0, x1, y1 = (ENLARGED * at for at in ASTRONAUT_FACE)
    box = (x0 - ENLARGED * left, y0 - ENLARGED * top, x1 - ENLARGED * left, y1 - ENLARGED * top)
    return Face(np.asarray(view, np.uint8), box)


def _write(folder: Path, name: str, image_rgb: NDArray[np.uint8]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), image_rgb[..., ::-1])


@pytest.fixture
def portraits_folder(tmp_path: Path, face: Face) -> Path:
    """faces.csv, train/ with three portraits of two sources, val/ with one."""
    folder = tmp_path / "faces"
    x0, y0, x1, y1 = face.bbox_xyxy
    width = face.pixels_rgb.shape[1]
    mirrored = np.ascontiguousarray(face.pixels_rgb[:, ::-1])
    rows = []
    for split, name, source, kind in (
        ("train", "a.png", "studio", "real"),
        ("train", "b.png", "studio", "real"),
        ("train", "c.png", "generated", "synthetic"),
        ("val", "d.png", "studio", "real"),
    ):
        flipped = name == "b.png"
        _write(folder / split, name, mirrored if flipped else face.pixels_rgb)
        box = [width - x1, y0, width - x0, y1] if flipped else [x0, y0, x1, y1]
        rows.append((split, name, source, kind, json.dumps(box)))
    with (folder / "faces.csv").open("w", newline="") as lines:
        csv.writer(lines).writerows([("split", "file", "source", "kind", "box"), *rows])
    return folder
