"""Expert-F: large kernels and a spectral branch, with an upsampler that speaks in Haar sub-bands.

A face of 100 px or more still has its edges; what it lacks is their fine end. This network is a plain
convolution net, so it is fast, with two ways to see far: a 13x13 kernel on part of the channels (Lee et al.,
PLKSR, 2024) and a 1x1 map between the Fourier coefficients of another part (Chi et al., Fast Fourier
Convolution, 2020). Its head predicts the two finest levels of the orthonormal Haar transform of the
enlargement, so smooth tone and each orientation of detail come from their own weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from actors.experts.layers import RGB, bicubic_upscale, haar_inverse, start_near_zero


class SpectralMix(nn.Module):
    """Mix channels at every spatial frequency: rfft2, 1x1 convolution, ReLU, 1x1 convolution, irfft2.

    There are no biases and ReLU is homogeneous, so the map commutes with a gain. Together with the
    orthonormal transform this makes it behave alike on crops of different sizes, although it was trained on
    small patches.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inward = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)
        self.outward = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape and dtype."""
        # FFTs have no bfloat16: under autocast this branch alone goes to float32 and back.
        spectrum = torch.fft.rfft2(features.float(), norm="ortho")
        parts = torch.cat((spectrum.real, spectrum.imag), dim=1)
        real, imaginary = self.outward(functional.relu(self.inward(parts))).float().chunk(2, dim=1)
        mixed = torch.fft.irfft2(torch.complex(real, imaginary), s=features.shape[-2:], norm="ortho")
        return mixed.to(features.dtype)


class CropGate(nn.Module):
    """Weigh channels by what the whole crop is like: how blurred, how noisy (Chen et al., NAFNet, 2022).

    Convolutions treat every crop alike; this one factor a channel lets a clean crop be left alone. It starts at one.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(channels, channels)
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return features * (1 + self.weigh(features.mean((2, 3))))[..., None, None]


class FrequencyBlock(nn.Module):
    """A 3x3 expansion; then part of the channels to a large kernel, part to the spectrum, the rest on.

    Args:
        channels: width of the features.
        hidden: width after the 3x3 convolution.
        large: channels that go through the large kernel.
        kernel: side of the large kernel in pixels, odd.
        spectral: channels that go through the spectral branch; large + spectral <= channels.
    """

    def __init__(self, channels: int, hidden: int, large: int, kernel: int, spectral: int) -> None:
        super().__init__()
        self.shares = (large, spectral, channels - large - spectral)
        self.expand = nn.Conv2d(channels, hidden, 3, padding=1)
        self.gate = CropGate(hidden)
        self.reduce = nn.Conv2d(hidden, channels, 1)
        self.large = nn.Conv2d(large, large, kernel, padding=kernel // 2)
        self.spectral = SpectralMix(spectral)
        self.fuse = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        mixed = self.reduce(self.gate(functional.gelu(self.expand(features))))
        far, spectral, straight = mixed.split(self.shares, dim=1)
        spectral = spectral + self.spectral(spectral)
        return features + self.fuse(torch.cat((self.large(far), spectral, straight), dim=1))


class FrequencyExpert(nn.Module):
    """Expert-F's network: (N, 3, H, W) RGB in [0, 1] -> (N, 3, 4 * H, 4 * W), not clamped.

    Any H and W. Untrained, it returns the bicubic enlargement. The scale is 4 by construction: two Haar
    levels.

    Args:
        channels: width of the features.
        blocks: number of :class:`FrequencyBlock`.
        hidden, large, kernel, spectral: see :class:`FrequencyBlock`.
    """

    def __init__(
        self,
        *,
        channels: int = 48,
        blocks: int = 6,
        hidden: int = 72,
        large: int = 16,
        kernel: int = 13,
        spectral: int = 12,
    ) -> None:
        super().__init__()
        self.scale, self.size_multiple = 4, 1
        self.stem = nn.Conv2d(RGB, channels, 3, padding=1)
        self.blocks = nn.ModuleList(FrequencyBlock(channels, hidden, large, kernel, spectral) for _ in range(blocks))
        self.coarse_bands = start_near_zero(nn.Conv2d(channels, 4 * RGB, 3, padding=1))
        self.fine_bands = start_near_zero(nn.Conv2d(channels, 4 * 3 * RGB, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, 4 * H, 4 * W)."""
        stem = self.stem((image - 0.5).contiguous(memory_format=torch.channels_last))
        features = stem
        for block in self.blocks:
            features = block(features)
        features = features + stem
        low, coarse = self.coarse_bands(features).split((RGB, 3 * RGB), dim=1)
        fine = functional.pixel_shuffle(self.fine_bands(features), 2)
        return bicubic_upscale(image, self.scale) + haar_inverse(haar_inverse(low, coarse), fine)
