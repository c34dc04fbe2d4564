"""SRNet, the x4 face network of the project that this one's design comes from, so that its checkpoints can be used.

Krystalkao, Real-Time-Identity-Consistent-Face-Restoration (2025, MIT). Its two scripts define two networks of one name,
which differ in the last layer and load each other's weights without a word (``strict=False``): what did not fit stayed
random. Here the keys decide which it is, and every key must fit.

    head       3x3 convolution to 64 channels, leaky ReLU
    rrdb       two dense blocks of three 3x3 convolutions (after Wang et al., ESRGAN, 2018)
    body       3x3 convolution, four transformer layers in which every pixel attends to every other, pixel shuffle
    detail     the result plus a 1x1 convolution of it: ``detail.*``
    or         the result plus its Laplacian, gated by a 1x1 convolution of that: ``detail_head.*``

The attention has no positions, and its cost grows with the square of the pixels: 29 s for 152x152 px on one core. It is
computed here without its matrix in memory, which alone would be 8 GB for that crop.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from actors.experts.layers import RGB

HEADS = 4
"""Of attention; no shape in a checkpoint tells it."""

_SLOPE = 0.2
"""Of leaky ReLU below zero."""

_RESIDUAL_SHARE = 0.2
"""Of a dense block's last convolution."""

_DETAIL_SHARE = 0.3
"""The most that the gated Laplacian may be weighed by."""


class DenseBlock(nn.Module):
    """Three convolutions, each of which sees what all before it made."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(channels, growth, 3, padding=1)
        self.c2 = nn.Conv2d(channels + growth, growth, 3, padding=1)
        self.c3 = nn.Conv2d(channels + 2 * growth, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        seen = features
        for convolution in (self.c1, self.c2):
            seen = torch.cat((seen, functional.leaky_relu(convolution(seen), _SLOPE)), dim=1)
        return features + _RESIDUAL_SHARE * self.c3(seen)


class PixelAttention(nn.Module):
    """Self-attention between all tokens, with the parameters of torch's ``nn.MultiheadAttention``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L, C) -> the same shape."""
        n, length, channels = tokens.shape
        projected = functional.linear(tokens, self.in_proj_weight, self.in_proj_bias)
        query, key, value = projected.view(n, length, 3, HEADS, channels // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.out_proj(mixed.transpose(1, 2).reshape(tokens.shape))


class TransformerLayer(nn.Module):
    """Pre-norm attention and a feed-forward with ReLU, each on a residual path."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.self_attn = PixelAttention(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L, C) -> the same shape."""
        tokens = tokens + self.self_attn(self.norm1(tokens))
        return tokens + self.linear2(functional.relu(self.linear1(self.norm2(tokens))))


class _Encoder(nn.Module):
    def __init__(self, channels: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(channels, hidden) for _ in range(depth))


class UpscalingTransformer(nn.Module):
    """Features to a picture `scale` times their size, by way of attention between all pixels."""

    def __init__(self, inward: int, channels: int, hidden: int, depth: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.conv_in = nn.Conv2d(inward, channels, 3, padding=1)
        self.encoder = _Encoder(channels, hidden, depth)
        self.conv_pre = nn.Conv2d(channels, channels * scale**2, 3, padding=1)
        self.conv_out = nn.Conv2d(channels, RGB, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 3, scale * H, scale * W)."""
        grid = self.conv_in(features)
        tokens = grid.flatten(2).transpose(1, 2)
        for layer in self.encoder.layers:
            tokens = layer(tokens)
        grid = tokens.transpose(1, 2).reshape(grid.shape)
        return self.conv_out(functional.pixel_shuffle(self.conv_pre(grid), self.scale))


class LaplacianGate(nn.Module):
    """Adds a picture's Laplacian to it, weighed for each pixel and channel by -0.3 to 0.3."""

    hp: Tensor

    def __init__(self) -> None:
        super().__init__()
        laplacian = torch.tensor([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]])
        self.register_buffer("hp", laplacian.expand(RGB, 1, 3, 3).clone())
        self.gate = nn.Sequential(nn.Conv2d(RGB, RGB, 1), nn.Tanh())

    def forward(self, picture: Tensor) -> Tensor:
        """(N, 3, H, W) -> the same shape."""
        detail = functional.conv2d(picture, self.hp, padding=1, groups=RGB)
        return picture + _DETAIL_SHARE * self.gate(detail) * detail


class SRNet(nn.Module):
    """(N, 3, H, W) RGB in [0, 1] -> (N, 3, scale * H, scale * W), not clamped; any H and W.

    Args:
        gated: True for the variant with ``detail_head.*``, False for the one with ``detail.*``.
        features: channels of the convolutions before the transformer.
        growth: channels that each convolution of a dense block adds.
        blocks: number of dense blocks.
        channels: width of the transformer, a multiple of :data:`HEADS`.
        hidden: width inside its feed-forward.
        depth: number of its layers.
        scale: enlargement per side.
    """

    def __init__(
        self,
        *,
        gated: bool,
        features: int = 64,
        growth: int = 32,
        blocks: int = 2,
        channels: int = 64,
        hidden: int = 256,
        depth: int = 4,
        scale: int = 4,
    ) -> None:
        super().__init__()
        self.scale, self.size_multiple = scale, 1
        self.head = nn.Sequential(nn.Conv2d(RGB, features, 3, padding=1), nn.LeakyReLU(_SLOPE))
        self.rrdb = nn.Sequential(*(DenseBlock(features, growth) for _ in range(blocks)))
        self.body = UpscalingTransformer(features, channels, hidden, depth, scale)
        if gated:
            self.detail_head = LaplacianGate()
        else:
            self.detail = nn.Conv2d(RGB, RGB, 1)
        self._gated = gated

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, scale * H, scale * W)."""
        picture: Tensor = self.body(self.rrdb(self.head(image)))
        return self.detail_head(picture) if self._gated else picture + self.detail(picture)
