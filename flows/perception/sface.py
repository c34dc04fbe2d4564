"""SFace as a differentiable network: which person a face shows, as a loss can be asked.

Zhong et al., SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition (2021); the weights are OpenCV
zoo's ONNX file, which `cv2.FaceRecognizerSF` runs too. That one has no gradients, so the same file is read into
torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from actors.geometry import similarity_transform
from storage.errors import UsageError
from weights import WeightsError

TEMPLATE_SIDE = 112
"""Side of an aligned face in px."""

TEMPLATE_XY = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where the eyes, the nose and the corners of the mouth lie in an aligned face: Deng et al., ArcFace (2019)."""


class SFace(nn.Module):
    """SFace's network, frozen, in eval mode: aligned faces in, unit vectors out."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers
        self.requires_grad_(False).eval()

    def forward(self, aligned: Tensor) -> Tensor:
        """(N, 3, 112, 112) RGB in [0, 1] -> (N, 128), each of length 1."""
        return functional.normalize(self.layers(255 * aligned), dim=1)


def load_sface(path: Path) -> SFace:
    """Read the ONNX file into torch.

    Raises:
        UsageError: the package onnx is not installed.
        WeightsError: the file is absent or is not such a network.
    """
    try:
        import onnx  # needed to train only
    except ImportError as error:
        raise UsageError(
            "training with an identity loss reads ONNX, and the package onnx is not installed: "
            "pip install 'facemill[train]'"
        ) from error
    try:
        graph = onnx.load(str(path)).graph
        tensors = {
            tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer
        }
        unused = set(tensors)
        layers: list[nn.Module] = []
        last, flat = graph.input[0].name, False
        for node in graph.node:
            if node.input[0] != last:
                raise ValueError(f"{node.op_type} does not follow the node before it")
            options = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
            constants = [tensors[name] for name in node.input[1:]]
            unused -= set(node.input)
            flat = flat or node.op_type == "Flatten"
            layers += _layer(node.op_type, constants, options, flat=flat)
            last = node.output[0]
        if unused:
            raise ValueError(f"no node uses its tensors {sorted(unused)[:3]}")
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except Exception as error:  # a parser's and a builder's many ways to say that this is another file
        raise WeightsError(f"{path}: is not SFace ({error}); fetch it again") from error
    return SFace(nn.Sequential(*layers))


class _Affine(nn.Module):
    """(x - shift) * gain, for the first two nodes."""

    shift: Tensor
    gain: Tensor

    def __init__(self, shift: Tensor, gain: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("gain", gain)

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.shift) * self.gain


def _layer(kind: str, tensors: list[Tensor], options: Mapping[str, Any], *, flat: bool) -> list[nn.Module]:
    """The torch modules of one ONNX node with its constants, an empty list for a node that does nothing."""
    if kind == "Sub":
        return [_Affine(tensors[0], torch.ones(1))]
    if kind == "Mul":
        return [_Affine(torch.zeros(1), tensors[0])]
    if kind == "Dropout":
        return []
    if kind == "Flatten":
        return [nn.Flatten()]
    if kind == "Conv":
        weight, *bias = tensors
        (stride, _), (padding, *_) = options["strides"], options["pads"]
        channels = weight.shape[1] * options["group"]
        convolution = nn.Conv2d(
            channels, len(weight), weight.shape[2], stride, padding, groups=options["group"], bias=bool(bias)
        )
        return [_filled(convolution, weight=weight, **({"bias": bias[0]} if bias else {}))]
    if kind == "PRelu":
        return [_filled(nn.PReLU(tensors[0].numel()), weight=tensors[0].flatten())]
    if kind == "BatchNormalization":
        scale, shift, mean, variance = tensors
        norm = (nn.BatchNorm1d if flat else nn.BatchNorm2d)(len(scale), eps=options["epsilon"])
        return [_filled(norm, weight=scale, bias=shift, running_mean=mean, running_var=variance)]
    if kind == "Gemm" and options.get("transB") == 1:
        return [_filled(nn.Linear(tensors[0].shape[1], len(tensors[0])), weight=tensors[0], bias=tensors[1])]
    raise ValueError(f"it has a node {kind}, which SFace has not")


def _filled(module: nn.Module, **tensors: Tensor) -> nn.Module:
    module.load_state_dict(tensors, strict=False)
    return module


def align(faces: Tensor, landmarks_xy: NDArray[np.float64], *, averaged: bool = True) -> Tensor:
    """Cut faces out to SFace's template, differentiably.

    Args:
        faces: (N, 3, H, W).
        landmarks_xy: (N, 5, 2) in px of ``faces``, centre of the first pixel at 0.
        averaged: whether a face that shrinks is first averaged over whole px, so that what lies between the template's
            points counts too; without, it is `cv2.FaceRecognizerSF.alignCrop`, which leaves that out.

    Returns:
        (N, 3, 112, 112); beyond the picture's edge its border continues.

    Raises:
        ValueError: there are not as many landmarks as faces.
    """
    if len(faces) != len(landmarks_xy):
        raise ValueError(f"{len(faces)} faces with landmarks of {len(landmarks_xy)}")
    axis = np.arange(TEMPLATE_SIDE)
    template = np.stack(np.meshgrid(axis, axis), -1)
    back = np.stack([similarity_transform(TEMPLATE_XY, points) for points in landmarks_xy])
    shrinks = np.maximum(1, np.hypot(back[:, 0, 0], back[:, 0, 1]).astype(int)) if averaged else np.ones(len(back), int)
    aligned, order = [], []
    for shrink in np.unique(shrinks).tolist():  # together what shrinks alike: on a GPU it is calls that cost
        members = np.flatnonzero(shrinks == shrink)
        height, width = (side // shrink * shrink for side in faces.shape[2:])
        small = functional.avg_pool2d(faces[torch.from_numpy(members), :, :height, :width], shrink)
        places = template @ back[members, None, :, :2].swapaxes(-1, -2) + back[members, None, None, :, 2]
        # grid_sample counts from -1 to 1 between the picture's outer edges.
        grid = torch.from_numpy((places + 0.5) / np.array([width, height]) * 2 - 1).to(faces)
        aligned.append(functional.grid_sample(small, grid, padding_mode="border", align_corners=False))
        order.append(members)
    return torch.cat(aligned)[torch.from_numpy(np.argsort(np.concatenate(order)))]
