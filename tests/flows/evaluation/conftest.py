"""A folder of portraits made of one public-domain face, small networks that measure, and experts that enlarge."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skimage.data import astronaut

from actors.geometry import Landmarks
from actors.identity import IdentityMeter
from actors.routing import RoutingBounds
from flows.evaluation.bench import Bench
from flows.evaluation.figures import Meter
from flows.evaluation.remembered import FigureStore
from flows.evaluation.restorers import EXPERT_F, EXPERT_T, Enlargement, Restored, Restorer, timed
from flows.evaluation.samples import Image
from flows.evaluation.subjects import Subject, read_subjects
from flows.perception.lpips import ALEXNET, Lpips

FACE = (177.0, 60.0, 277.0, 190.0)
LANDMARKS = ((204.0, 106.0), (246.0, 103.0), (226.0, 131.0), (209.0, 152.0), (247.0, 150.0))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks this small are slower on several threads."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def portrait(enlarged: float, *, mirrored: bool = False) -> tuple[Image, list[float], list[list[float]]]:
    """The photograph's face with its surroundings, ``100 * enlarged`` px wide; its box and landmarks."""
    left, top, right, bottom = 130, 10, 330, 240
    view = cv2.resize(astronaut()[top:bottom, left:right], None, fx=enlarged, fy=enlarged)
    image = np.asarray(view, np.uint8)
    box = [enlarged * (at - origin) for at, origin in zip(FACE, (left, top, left, top), strict=True)]
    points = [[enlarged * (x - left), enlarged * (y - top)] for x, y in LANDMARKS]
    if mirrored:
        width = image.shape[1]
        image = np.ascontiguousarray(image[:, ::-1])
        box = [width - box[2], box[1], width - box[0], box[3]]
        points = [[width - points[at][0], points[at][1]] for at in (1, 0, 2, 4, 3)]
    return image, box, points


@pytest.fixture(scope="session")
def portraits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """faces.csv and val/: faces 280, 280 and 180 px wide of two sources, a broken picture, a row without a box."""
    folder = tmp_path_factory.mktemp("faces")
    (folder / "val").mkdir()
    rows = []
    for name, source, enlarged, mirrored in (
        ("a.png", "studio", 2.8, False),
        ("b.png", "studio", 2.8, True),
        ("c.png", "street", 1.8, False),
    ):
        image, box, points = portrait(enlarged, mirrored=mirrored)
        cv2.imwrite(str(folder / "val" / name), image[..., ::-1])
        rows.append(("val", name, source, "real", json.dumps(box), json.dumps(points)))
    (folder / "val" / "broken.png").write_bytes(b"not a picture")
    rows.append(("val", "broken.png", "street", "real", rows[0][4], rows[0][5]))
    rows.append(("val", "boxless.png", "street", "real", "[1, 2", rows[0][5]))
    with (folder / "faces.csv").open("w", newline="") as lines:
        csv.writer(lines).writerows([("split", "file", "source", "kind", "box", "landmarks"), *rows])
    return folder


@pytest.fixture(scope="session")
def subjects(portraits_folder: Path) -> list[Subject]:
    """The three readable portraits."""
    return read_subjects(portraits_folder, "val", None, lambda line: None)


def embedding_file(path: Path) -> Path:
    """An ONNX network of SFace's shape: 16 x 16 means of the face, turned to 128 figures by a random matrix."""
    matrix = np.random.default_rng(0).standard_normal((3 * 49, 128)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["data"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix"], ["fc1"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, 128])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), str(path))
    return path


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> IdentityMeter:
    return IdentityMeter(embedding_file(tmp_path_factory.mktemp("identity") / "small.onnx"))


@pytest.fixture(scope="session")
def meter(identity: IdentityMeter) -> Meter:
    """LPIPS with random weights: still 0 for equal pictures, and larger for more damage."""
    torch.manual_seed(0)
    return Meter(Lpips(ALEXNET), identity)


class Sharpened:
    """An expert's stand-in: bicubic, then some unsharp masking."""

    uses_landmarks = False

    def __init__(self, name: str, amount: float) -> None:
        self.identity = f"{name} {amount}"
        self._amount = amount
        self.restored = 0

    def restore(self, crops_rgb: Sequence[Image], landmarks: Sequence[Landmarks]) -> list[Restored]:
        assert len(landmarks) == len(crops_rgb)
        self.restored += len(crops_rgb)
        return [timed(self._one, crop_rgb) for crop_rgb in crops_rgb]

    def _one(self, crop_rgb: Image) -> Image:
        height, width = crop_rgb.shape[:2]
        large: NDArray = cv2.resize(crop_rgb, (4 * width, 4 * height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        sharper = large + self._amount * (large - cv2.GaussianBlur(large, (0, 0), 3))
        return np.clip(np.rint(sharper), 0, 255).astype(np.uint8)


class BenchFixture:
    """A bench with stand-ins, and what it was asked for."""

    def __init__(self, meter: Meter, folder: Path, bounds: RoutingBounds) -> None:
        self.remembered = FigureStore(folder)
        self.experts = {EXPERT_T: Sharpened(EXPERT_T, 0.3), EXPERT_F: Sharpened(EXPERT_F, 0.8)}
        self.bench = Bench(self._load, meter, bounds, self.remembered)

    def _load(self, name: str) -> Restorer:
        if name in self.experts:
            return self.experts[name]
        return Enlargement(name, {"bicubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}[name])


@pytest.fixture
def made(meter: Meter, tmp_path: Path) -> BenchFixture:
    return BenchFixture(meter, tmp_path / "cache", RoutingBounds(q_low=100))
