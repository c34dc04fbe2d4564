from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from flows.perception.lpips import ALEXNET, VGG16, load_lpips
from weights import WeightsError

RNG = np.random.default_rng(0)


def alexnet_file(path: Path, **changes: Any) -> Path:
    """Random weights in the layout of the published file."""
    widths = [3, *(layer.channels for layer in ALEXNET)]
    convolutions = {
        f"Conv_{number}": {
            "kernel": 0.05
            * RNG.standard_normal((layer.kernel, layer.kernel, widths[number], layer.channels)).astype(np.float32),
            "bias": np.zeros(layer.channels, np.float32),
        }
        for number, layer in enumerate(ALEXNET)
    }
    heads = {
        f"NetLinLayer_{number}": {"Conv_0": {"kernel": RNG.random((1, 1, layer.channels, 1)).astype(np.float32)}}
        for number, layer in enumerate(ALEXNET)
    }
    path.write_bytes(pickle.dumps({"AlexNet_0": convolutions, **heads, **changes}, protocol=3))
    return path


def test_equal_pictures_are_at_zero_and_more_damage_is_farther(tmp_path: Path) -> None:
    lpips = load_lpips("alex", alexnet_file(tmp_path / "alex.ckpt"))
    original = torch.rand(1, 3, 64, 64)
    blurred = functional.avg_pool2d(original, 3, 1, 1)
    worse = functional.avg_pool2d(original, 9, 1, 4)
    distances = [float(lpips(picture, original)) for picture in (original, blurred, worse)]
    assert distances[0] == 0
    assert distances == sorted(distances)
    assert distances[1] > 0


def test_each_pair_of_a_batch_has_its_own_distance_and_gradients_flow(tmp_path: Path) -> None:
    lpips = load_lpips("alex", alexnet_file(tmp_path / "alex.ckpt"))
    restored, original = torch.rand(2, 3, 64, 64, requires_grad=True), torch.rand(2, 3, 64, 64)
    together = lpips(restored, original)
    alone = torch.cat([lpips(restored[n : n + 1], original[n : n + 1]) for n in range(2)])
    torch.testing.assert_close(together, alone)
    together[0].backward()
    assert restored.grad is not None
    assert restored.grad[0].abs().sum() > 0
    assert restored.grad[1].abs().sum() == 0


def test_the_first_layer_is_the_published_arithmetic(tmp_path: Path) -> None:
    """LPIPS by hand for pictures that differ where only the first layer's head has weight."""
    silent = {
        f"NetLinLayer_{n}": {"Conv_0": {"kernel": np.zeros((1, 1, c, 1), np.float32)}}
        for n, c in ((1, 192), (2, 384), (3, 256), (4, 256))
    }
    path = alexnet_file(tmp_path / "alex.ckpt", **silent)
    lpips = load_lpips("alex", path)
    stored = pickle.loads(path.read_bytes())
    kernel = torch.from_numpy(stored["AlexNet_0"]["Conv_0"]["kernel"]).permute(3, 2, 0, 1)
    head = torch.from_numpy(stored["NetLinLayer_0"]["Conv_0"]["kernel"]).flatten()
    pair = torch.rand(2, 3, 64, 64)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    normed = (2 * pair - 1 - shift.view(3, 1, 1)) / scale.view(3, 1, 1)
    features = functional.relu(functional.conv2d(normed, kernel, stride=4, padding=2))
    unit = features / features.norm(dim=1, keepdim=True)
    expected = ((unit[0] - unit[1]).square() * head.view(-1, 1, 1)).sum(0).mean()
    torch.testing.assert_close(lpips(pair[:1], pair[1:])[0], expected, rtol=1e-4, atol=1e-6)


def test_vgg_compares_the_last_layer_of_each_stage() -> None:
    assert [layer.channels for layer in VGG16 if layer.compared] == [64, 128, 256, 512, 512]
    assert [number for number, layer in enumerate(VGG16) if layer.pool] == [2, 4, 7, 10]


class Intruder:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("intruded",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pickle.dumps({"AlexNet_0": Intruder()}), "which is not an array"),
        (pickle.dumps([1, 2]), "holds a list"),
        (pickle.dumps({"AlexNet_0": {}}), "does not hold LPIPS with alex"),
        (b"", "not a whole file"),
        (b"<html>", "not a whole file"),
    ],
)
def test_another_file_is_refused_and_nothing_in_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "alex.ckpt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=reason):
        load_lpips("alex", path)
    assert not (tmp_path / "intruded").exists()


def test_a_truncated_file_and_vgg_for_alex_are_refused(tmp_path: Path) -> None:
    whole = alexnet_file(tmp_path / "alex.ckpt")
    with pytest.raises(WeightsError, match="does not hold LPIPS with vgg"):
        load_lpips("vgg", whole)
    whole.write_bytes(whole.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="not a whole file"):
        load_lpips("alex", whole)


@pytest.mark.parametrize("extra", [{"NetLinLayer_5": {}}, {"head": {}}])
def test_a_key_too_many_is_refused(tmp_path: Path, extra: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match=rf"unexpected \['{next(iter(extra))}'\]"):
        load_lpips("alex", alexnet_file(tmp_path / "alex.ckpt", **extra))
