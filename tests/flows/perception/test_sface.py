from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from flows.perception.sface import TEMPLATE_SIDE, TEMPLATE_XY, align, load_sface
from weights import WeightsError

RNG = np.random.default_rng(0)


def small_sface(path: Path, *, extra: str | None = None) -> Path:
    """A network of SFace's kinds of nodes, small and with random weights, as ONNX."""

    def norm(name: str, size: int, inward: str) -> tuple[onnx.NodeProto, dict[str, np.ndarray]]:
        parts = {f"{name}_{part}": RNG.random(size) + 0.5 for part in ("gamma", "beta", "mean", "var")}
        return helper.make_node("BatchNormalization", [inward, *parts], [name], epsilon=1e-3), parts

    first, first_parts = norm("bn1", 4, "conv")
    last, last_parts = norm("bn2", 8, "fc")
    constants = {
        "shift": np.array([127.5]),
        "gain": np.array([1 / 128]),
        "kernel": RNG.standard_normal((4, 3, 3, 3)) / 5,
        "slope": RNG.random((4, 1, 1)),
        "depthwise": RNG.standard_normal((4, 1, 3, 3)) / 3,
        "matrix": RNG.standard_normal((8, 4 * 28 * 28)) / 50,
        "bias": RNG.standard_normal(8),
        **first_parts,
        **last_parts,
    }
    shape = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2], "dilations": [1, 1]}
    nodes = [
        helper.make_node("Sub", ["data", "shift"], ["sub"]),
        helper.make_node("Mul", ["sub", "gain"], ["mul"]),
        helper.make_node("Conv", ["mul", "kernel"], ["conv"], group=1, **shape),
        first,
        helper.make_node("PRelu", ["bn1", "slope"], ["act"]),
        helper.make_node("Conv", ["act", "depthwise"], ["dw"], group=4, **shape),
        helper.make_node("Dropout", ["dw"], ["drop"]),
        helper.make_node("Flatten", ["drop"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix", "bias"], ["fc"], transB=1),
        last,
    ]
    if extra:
        nodes.append(helper.make_node(extra, ["bn2"], ["more"]))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)]), str(path))
    return path


def test_the_network_read_from_onnx_computes_what_opencv_computes(tmp_path: Path) -> None:
    path = small_sface(tmp_path / "small.onnx")
    face_rgb = RNG.integers(0, 256, (112, 112, 3)).astype(np.uint8)
    net = cv2.dnn.readNetFromONNX(str(path))
    net.setInput(cv2.dnn.blobFromImage(face_rgb))
    expected = np.asarray(net.forward()).ravel()
    found = load_sface(path)(torch.from_numpy(face_rgb).permute(2, 0, 1)[None].float() / 255)[0].numpy()
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-4)


def test_another_network_a_broken_file_and_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="a node Softmax"):
        load_sface(small_sface(tmp_path / "other.onnx", extra="Softmax"))
    spare = onnx.load(str(small_sface(tmp_path / "spare.onnx")))
    spare.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "spare"))
    onnx.save(spare, str(tmp_path / "spare.onnx"))
    with pytest.raises(WeightsError, match=r"no node uses its tensors \['spare'\]"):
        load_sface(tmp_path / "spare.onnx")
    whole = small_sface(tmp_path / "cut.onnx")
    whole.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="is not SFace"):
        load_sface(whole)
    with pytest.raises(WeightsError, match="cannot be read"):
        load_sface(tmp_path / "absent.onnx")


@pytest.mark.parametrize(("turn", "size"), [(0.0, 1.0), (0.3, 1.0), (-0.2, 2.6)])
def test_align_brings_the_landmarks_to_the_template(turn: float, size: float) -> None:
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = size * TEMPLATE_XY @ rotation.T + (70, 60)
    y, x = np.mgrid[:420, :420]
    for point, wanted in zip(points, TEMPLATE_XY, strict=True):
        spot = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * (2 * size) ** 2))
        image = torch.from_numpy(spot)[None, None].float()
        aligned = align(image, points[None])[0, 0].numpy()
        assert aligned.shape == (TEMPLATE_SIDE, TEMPLATE_SIDE)
        ys, xs = np.mgrid[:TEMPLATE_SIDE, :TEMPLATE_SIDE]
        found = np.array([(aligned * xs).sum(), (aligned * ys).sum()]) / aligned.sum()
        np.testing.assert_allclose(found, wanted, atol=0.05)


def test_faces_of_several_sizes_are_aligned_together_as_one_by_one() -> None:
    faces = torch.rand(4, 3, 400, 400)
    points = np.stack([size * TEMPLATE_XY + 10 for size in (2.6, 1.0, 3.2, 2.4)])
    for averaged in (False, True):
        alone = [align(face[None], own[None], averaged=averaged) for face, own in zip(faces, points, strict=True)]
        torch.testing.assert_close(align(faces, points, averaged=averaged), torch.cat(alone))
