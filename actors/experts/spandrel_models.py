"""Other people's models, by way of spandrel: recognised by their keys, brought to an expert's scale.

Super-resolution and restoration models take a crop and give it back four times the size, whatever their own scale.
Face models (GFPGAN, RestoreFormer) take a face that lies on the 512 px template, and give that back
(:mod:`actors.alignment`). spandrel is optional: ``pip install 'facemill[models]'``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from actors.experts.architectures import ARCHITECTURES, Handling
from actors.experts.layers import RGB
from weights import WeightsError

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor


class SpandrelModel(nn.Module):
    """A model that spandrel has loaded, called with the same noise every time.

    (1, 3, H, W) RGB in [0, 1] -> (1, 3, scale * H, scale * W) in [0, 1], any H and W: spandrel pads to what the model
    needs and cuts the padding off. Never tiled: crops are small, and what a face model sees is the whole face.

    Args:
        descriptor: spandrel's.
        scale: enlargement per side of what comes out; the model's own result is resampled to it.
    """

    def __init__(self, descriptor: ImageModelDescriptor[nn.Module], scale: int) -> None:
        super().__init__()
        self.scale, self.size_multiple = scale, 1
        self.model = descriptor.model
        self._descriptor = descriptor

    def __repr__(self) -> str:
        return f"{self._descriptor.architecture.name} x{self._descriptor.scale} by spandrel"

    def forward(self, image: Tensor) -> Tensor:
        """(1, 3, H, W) in [0, 1] -> (1, 3, scale * H, scale * W)."""
        image = image.contiguous(memory_format=torch.contiguous_format)  # some of these networks reshape by view()
        with _same_noise(image.device):
            restored = self._call(image).float()
        size = (self.scale * image.shape[-2], self.scale * image.shape[-1])
        if restored.shape[-2:] == size:
            return restored
        if restored.shape[-1] > size[1]:
            return functional.interpolate(restored, size, mode="area")
        return functional.interpolate(restored, size, mode="bicubic", align_corners=False)

    def _call(self, image: Tensor) -> Tensor:
        if self._descriptor.architecture.id != "GFPGAN":
            return self._descriptor(image)
        # GFPGAN was trained on [-1, 1]; spandrel 0.4 hands it [0, 1] as it is. The noise is the one stored with the
        # weights: random noise would flicker.
        restored: Tensor = self.model(2 * image - 1, return_rgb=False, randomize_noise=False)[0]
        return (restored + 1) / 2


@contextmanager
def _same_noise(device: torch.device) -> Iterator[None]:
    """While inside, random numbers are the same every time; afterwards they go on as if nothing had been."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


def model_of(state: dict[str, Tensor], where: str, *, scale: int) -> tuple[SpandrelModel, Handling, bool]:
    """The model of a state dict that none of facemill's own architectures fits.

    Args:
        state: as :func:`actors.experts.checkpoint.read_state` gives it.
        where: what a refusal names.
        scale: what a model of crops is brought to.

    Returns:
        The model in eval mode, float32, on the CPU; how it wants to be run; and whether it takes aligned faces.

    Raises:
        WeightsError: spandrel is not installed, does not know the model, or finds that it does not fit.
    """
    own = ", ".join(architecture.name for architecture in ARCHITECTURES)
    unknown = f"{where}: its {len(state)} keys belong to no architecture that facemill knows ({own})"
    try:
        import spandrel
    except ImportError as error:
        raise WeightsError(f"{unknown}; `pip install 'facemill[models]'` adds those of spandrel") from error
    try:
        descriptor = spandrel.ModelLoader().load_from_state_dict(state)
    except spandrel.UnsupportedModelError as error:
        raise WeightsError(f"{unknown}, nor to one of spandrel {spandrel.__version__}; use another model") from error
    except Exception as error:  # forty architectures' many ways to say that a key or a shape does not fit
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{where}: does not fit the network it resembles ({reason}); use whole weights") from error
    name = descriptor.architecture.name
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise WeightsError(f"{where}: is a {name}, which fills masked holes; use a model that restores whole pictures")
    channels = (descriptor.input_channels, descriptor.output_channels)
    if channels != (RGB, RGB):
        raise WeightsError(
            f"{where}: is a {name} from {channels[0]} to {channels[1]} channels; use a model for RGB pictures"
        )
    aligned = descriptor.purpose == "FaceSR"
    handling = Handling(side_multiple=1, alone=True, bfloat16=descriptor.supports_bfloat16, channels_last=False)
    return SpandrelModel(descriptor, descriptor.scale if aligned else scale).eval(), handling, aligned
