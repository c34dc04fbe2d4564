"""Other people's models restore crops four times their size, whatever their own scale, and faces on the template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from actors.experts import Expert, WeightsError, load_expert
from actors.experts.architectures import Handling
from actors.experts.expert import AlignedFaceExpert, enlarge
from actors.experts.spandrel_models import SpandrelModel
from actors.geometry import Landmarks

spandrel = pytest.importorskip("spandrel")
MakeCrop = Callable[..., NDArray[np.uint8]]

LANDMARKS: Landmarks = ((17.0, 20.0), (31.0, 20.5), (24.0, 28.0), (18.5, 35.0), (30.5, 35.0))
"""Of a face in a crop of 50 to 60 px."""


def esrgan(scale: int, *, channels: int = 3) -> nn.Module:
    from spandrel.architectures.ESRGAN import ESRGAN

    return ESRGAN(in_nc=channels, out_nc=channels, num_filters=16, num_blocks=1, scale=scale)  # type: ignore[no-any-return]


def compact() -> nn.Module:
    from spandrel.architectures.Compact import Compact

    return Compact(num_feat=16, num_conv=2, upscale=4)  # type: ignore[no-any-return]


def span() -> nn.Module:
    from spandrel.architectures.SPAN import SPAN

    return SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2)  # type: ignore[no-any-return]


def swinir() -> nn.Module:
    from spandrel.architectures.SwinIR import SwinIR

    return SwinIR(  # type: ignore[no-any-return]
        img_size=64, window_size=8, depths=[1], embed_dim=12, num_heads=[2], mlp_ratio=2, upscale=4,
        upsampler="pixelshuffledirect", resi_connection="1conv",
    )  # fmt: skip


def saved(path: Path, network: nn.Module) -> Path:
    """A file of a network's weights: safetensors or a checkpoint, as the name says."""
    torch.manual_seed(0)
    state = {key: value.clone().contiguous() for key, value in network.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"params_ema": state}, path)
    return path


MODELS = {
    "esrgan x2": lambda: esrgan(2),
    "esrgan x4": lambda: esrgan(4),
    "esrgan x8": lambda: esrgan(8),
    "compact x4": compact,
    "span x2": span,
    "swinir x4": swinir,
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_model_of_any_scale_restores_crops_four_times_their_size(
    tmp_path: Path, make: Callable[[], nn.Module], crop: MakeCrop
) -> None:
    torch.manual_seed(2)
    expert = load_expert("expert_f", weights_path=saved(tmp_path / "model.pth", make()))
    crops_rgb = [crop(18, 31), crop(24, 24), crop(31, 18)]
    restored = expert.restore(crops_rgb)
    assert [each.shape for each in restored] == [(72, 124, 3), (96, 96, 3), (124, 72, 3)]
    np.testing.assert_array_equal(restored[0], expert.restore(crops_rgb[:1])[0])


def test_safetensors_and_a_checkpoint_of_one_network_restore_alike(tmp_path: Path, crop: MakeCrop) -> None:
    torch.manual_seed(2)
    network = compact()
    paths = [saved(tmp_path / name, network) for name in ("a.safetensors", "b.pth")]
    first, second = (load_expert("expert_t", weights_path=path) for path in paths)
    np.testing.assert_array_equal(first.restore([crop(20, 20)])[0], second.restore([crop(20, 20)])[0])
    assert first.sha256 != second.sha256


class Nearest(nn.Module):
    """Enlarges by copying pixels, as a model of some scale."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor) -> Tensor:
        assert image.is_contiguous()
        self.seen.append(image.clone())
        return image.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


class FakeDescriptor(SimpleNamespace):
    """Enough of spandrel's descriptor to be called."""

    def __call__(self, image: Tensor) -> Tensor:
        result: Tensor = self.model(image)
        return result


def fake(model: nn.Module, scale: int, architecture: str = "Nearest") -> FakeDescriptor:
    named = SimpleNamespace(id=architecture, name=architecture)
    return FakeDescriptor(model=model, scale=scale, architecture=named)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_a_models_result_is_brought_to_scale_in_register(scale: int, crop: MakeCrop) -> None:
    y, x = np.mgrid[:40, :48]
    crop_rgb = np.stack([2 * x + 40, 3 * y + 30, x + y + 60], -1).astype(np.uint8)
    model = SpandrelModel(fake(Nearest(scale), scale), 4)  # type: ignore[arg-type]
    (restored,) = Expert("expert_t", model, "", handling=Handling(1, alone=True, channels_last=False)).restore(
        [crop_rgb]
    )
    # A ramp's enlargement has the ramp's value at every place; copied pixels are off by half a pixel at the most.
    assert restored.shape == (160, 192, 3)
    difference = restored[16:-16, 16:-16].astype(int) - enlarge(crop_rgb)[16:-16, 16:-16]
    assert np.abs(difference).max() <= 2
    assert np.abs(difference.mean((0, 1))).max() < 0.6


def test_models_that_draw_noise_draw_the_same_for_every_crop(crop: MakeCrop) -> None:
    class Noisy(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image + 0.1 * torch.randn_like(image)

    model = SpandrelModel(fake(Noisy(), 1), 4)  # type: ignore[arg-type]
    image = torch.full((1, 3, 16, 16), 0.5)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first, second = model(image), model(image)
    torch.testing.assert_close(torch.rand(3), expected)
    assert torch.equal(first, second)
    assert first.std() > 0.01


# Faces on the template


def aligned(model: nn.Module, scale: int = 1, architecture: str = "Nearest") -> AlignedFaceExpert:
    descriptor = fake(model, scale, architecture)
    handling = Handling(1, alone=True, channels_last=False)
    return AlignedFaceExpert("expert_t", SpandrelModel(descriptor, scale), "", handling=handling)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [1, 2])
def test_a_face_model_that_changes_nothing_gives_the_enlarged_crop(scale: int, crop: MakeCrop) -> None:
    crop_rgb = cv2.GaussianBlur(crop(60, 50), (0, 0), 2)
    model = Nearest(scale)
    (restored,) = aligned(model, scale).restore([crop_rgb], [LANDMARKS])
    assert model.seen[0].shape == (1, 3, 512, 512)
    difference = np.abs(restored.astype(int) - enlarge(crop_rgb))
    assert difference.mean() < 1
    assert restored.shape == (240, 200, 3)


def test_faces_of_several_crops_come_back_in_order_and_each_in_its_own_place(crop: MakeCrop) -> None:
    class Negative(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return 1 - image

    crops_rgb = [cv2.GaussianBlur(crop(60, 50, seed), (0, 0), 2) for seed in (1, 2)]
    moved = tuple((x + 6, y + 4) for x, y in LANDMARKS)
    restored = aligned(Negative()).restore(crops_rgb, [LANDMARKS, moved])
    for (x, y), crop_rgb, result_rgb in zip((LANDMARKS[2], moved[2]), crops_rgb, restored, strict=True):
        at = (round(4 * y), round(4 * x))
        assert np.abs(result_rgb[at].astype(int) - (255 - enlarge(crop_rgb)[at])).max() <= 3


def test_a_crop_whose_landmarks_fall_together_is_only_enlarged(crop: MakeCrop) -> None:
    model = Nearest(1)
    (restored,) = aligned(model).restore([crop(40, 40)], [((20.0, 20.0),) * 5])
    np.testing.assert_array_equal(restored, enlarge(crop(40, 40)))
    assert model.seen == []


def test_a_face_model_without_landmarks_says_what_it_needs(crop: MakeCrop) -> None:
    with pytest.raises(ValueError, match="aligns faces by their landmarks; none given"):
        aligned(Nearest(1)).restore([crop(40, 40)])


def test_gfpgan_is_given_the_range_that_it_was_trained_on(crop: MakeCrop) -> None:
    class Recorder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.told: dict[str, object] = {}

        def forward(self, image: Tensor, **told: object) -> tuple[Tensor, list[Tensor]]:
            self.told = {"low": float(image.min()), "high": float(image.max()), **told}
            return image, []

    model = Recorder()
    white_and_black = np.zeros((60, 50, 3), np.uint8)
    white_and_black[:, 25:] = 255
    (restored,) = aligned(model, architecture="GFPGAN").restore([white_and_black], [LANDMARKS])
    assert model.told == {"low": -1.0, "high": 1.0, "return_rgb": False, "randomize_noise": False}
    assert np.abs(restored.astype(int) - enlarge(white_and_black)).mean() < 2


def test_a_published_face_architecture_is_known_as_one(tmp_path: Path) -> None:
    from spandrel.architectures.RestoreFormer import RestoreFormer

    torch.manual_seed(0)
    network = RestoreFormer(n_embed=8, embed_dim=32, ch=32, ch_mult=(1, 1, 1, 1, 1, 1), num_res_blocks=1, z_channels=32)
    expert = load_expert("expert_t", weights_path=saved(tmp_path / "face.pth", network))
    assert isinstance(expert, AlignedFaceExpert)
    assert "RestoreFormer x1 by spandrel" in repr(expert)


# What is refused


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as refused:
        load_expert("expert_t", weights_path=path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    return str(refused.value)


CHANGES: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "missing": lambda state: state.pop("body.0.bias"),
    "too many": lambda state: state.update(x=torch.ones(1)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_model_with_a_key_missing_or_too_many_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object]
) -> None:
    state = dict(compact().state_dict())
    change(state)
    torch.save(state, tmp_path / "model.pth")
    assert "does not fit the network it resembles" in refusal(tmp_path / "model.pth")


def test_a_model_of_grey_pictures_is_refused(tmp_path: Path) -> None:
    assert "from 1 to 1 channels" in refusal(saved(tmp_path / "grey.pth", esrgan(4, channels=1)))


def test_a_model_that_diverged_is_refused(tmp_path: Path) -> None:
    network = compact()
    nn.init.constant_(network.body[0].bias, float("nan"))  # type: ignore[index,union-attr]
    assert "body.0.bias holds NaN" in refusal(saved(tmp_path / "model.pth", network))


def test_what_nobody_knows_is_said_to_be_unknown(tmp_path: Path) -> None:
    torch.save({"some.weight": torch.zeros(3)}, tmp_path / "model.pth")
    told = refusal(tmp_path / "model.pth")
    assert "TransformerExpert, FrequencyExpert, SRNet" in told
    assert "spandrel 0.4" in told


def test_without_spandrel_the_way_to_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "spandrel", None)
    assert "pip install 'facemill[models]'" in refusal(saved(tmp_path / "model.pth", compact()))
