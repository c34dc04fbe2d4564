"""Expert-T: window attention for what is near, channel attention for what the whole crop has in common.

A blurred or small face has little detail in any one place, so this network spends its work on relating
places: every block pair looks once inside 8x8 windows (Liu et al., Swin Transformer, 2021; Liang et al.,
SwinIR, 2021) and once over the covariance of channels across the whole crop, whose cost is linear in its
pixels (Zamir et al., Restormer, 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from actors.experts.layers import RGB, bicubic_upscale, start_near_zero


def split_windows(grid: Tensor, window: int) -> Tensor:
    """Cut (N, H, W, C), H and W multiples of ``window``, into (N * H/window * W/window, window ** 2, C)."""
    n, height, width, channels = grid.shape
    cells = grid.view(n, height // window, window, width // window, window, channels)
    return cells.transpose(2, 3).reshape(-1, window * window, channels)


def join_windows(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """Undo :func:`split_windows`: back to (N, height, width, C)."""
    channels = windows.shape[-1]
    cells = windows.view(-1, height // window, width // window, window, window, channels)
    return cells.transpose(2, 3).reshape(-1, height, width, channels)


def shift_mask(height: int, width: int, window: int, shift: int, *, device: torch.device) -> Tensor:
    """Which pairs of a rolled grid's pixels may not see each other: the roll alone made them neighbours.

    Returns:
        (H/window * W/window, window ** 2, window ** 2) bool, True where attention is forbidden.
    """

    def region(length: int) -> Tensor:
        place = torch.arange(length, device=device)
        return (place >= length - window).long() + (place >= length - shift).long()

    regions = region(height)[:, None] * 3 + region(width)[None, :]
    inside = split_windows(regions[None, :, :, None], window)[..., 0]
    return inside[:, :, None] != inside[:, None, :]


class WindowAttention(nn.Module):
    """Self-attention inside square windows, with a learned bias for every relative position.

    Args:
        channels: width of the tokens, a multiple of ``heads``.
        heads: number of attention heads.
        window: side of a window in pixels.
        shift: how far the window grid is rolled up and left, 0 or window // 2.
    """

    relative_index: Tensor

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.position_bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        place = torch.arange(window)
        rows = place[:, None, None, None] - place[None, None, :, None] + window - 1
        columns = place[None, :, None, None] - place[None, None, None, :] + window - 1
        index = (rows * (2 * window - 1) + columns).reshape(window * window, window * window)
        self.register_buffer("relative_index", index, persistent=False)

    def forward(self, grid: Tensor) -> Tensor:
        """(N, H, W, C) -> the same shape; H and W are multiples of the window."""
        n, height, width, _ = grid.shape
        if self.shift:
            grid = grid.roll((-self.shift, -self.shift), dims=(1, 2))
        tokens = split_windows(grid, self.window)
        qkv = self.qkv(tokens).view(*tokens.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        bias = self._bias(n, height, width).to(query.dtype)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed = mixed.transpose(1, 2).reshape(tokens.shape)
        grid = join_windows(self.project(mixed), self.window, height, width)
        return grid.roll((self.shift, self.shift), dims=(1, 2)) if self.shift else grid

    def _bias(self, n: int, height: int, width: int) -> Tensor:
        """(1 or N * windows, heads, window ** 2, window ** 2), to be added to the scores."""
        bias = self.position_bias[self.relative_index].permute(2, 0, 1)[None]
        if not self.shift:
            return bias
        forbidden = shift_mask(height, width, self.window, self.shift, device=bias.device)
        return bias.masked_fill(forbidden[:, None], float("-inf")).repeat(n, 1, 1, 1)


class ChannelAttention(nn.Module):
    """Attention between channels instead of pixels: a (d, d) matrix a head, whatever the size of the crop.

    Queries and keys are unit vectors over the pixels, so a larger crop gives the same scores as a smaller one
    of the same content: patches in training, whole faces in use.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))

    def forward(self, grid: Tensor) -> Tensor:
        """(N, H, W, C) -> the same shape, any H and W."""
        n, height, width, channels = grid.shape
        tokens = self.qkv(grid.view(n, height * width, channels)).view(n, -1, 3, self.heads, channels // self.heads)
        query, key, value = tokens.permute(2, 0, 3, 1, 4).unbind(0)
        # The d x d scores are divided by the lengths, rather than every pixel before: the same, and far less to do.
        lengths = query.square().sum(-2)[..., :, None] * key.square().sum(-2)[..., None, :]
        cosines = (query.transpose(-2, -1) @ key) * (lengths + 1e-12).rsqrt()
        weights = (cosines * self.temperature).softmax(-1)
        mixed = (value @ weights.transpose(-2, -1)).transpose(1, 2).reshape(n, height, width, channels)
        return self.project(mixed)


class GatedFeedForward(nn.Module):
    """Two linear maps around a gate that sees its 3x3 surroundings (after Restormer's GDFN)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, 2 * hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.reduce = nn.Linear(hidden, channels)

    def forward(self, grid: Tensor) -> Tensor:
        """(N, H, W, C) -> the same shape."""
        # Two products instead of one that is split: each half is contiguous, and contiguous NHWC seen as NCHW is
        # torch's channels_last, so the convolution copies nothing.
        weights, biases = self.expand.weight.chunk(2), self.expand.bias.chunk(2)
        gate, content = (functional.linear(grid, *half) for half in zip(weights, biases, strict=True))
        gate = self.depthwise(gate.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.reduce(functional.gelu(gate) * content)


class AttentionBlock(nn.Module):
    """Pre-norm attention and feed-forward, each on a residual path."""

    def __init__(self, channels: int, attention: nn.Module, hidden: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(channels)
        self.attention = attention
        self.norm_feed_forward = nn.LayerNorm(channels)
        self.feed_forward = GatedFeedForward(channels, hidden)

    def forward(self, grid: Tensor) -> Tensor:
        """(N, H, W, C) -> the same shape."""
        grid = grid + self.attention(self.norm_attention(grid))
        return grid + self.feed_forward(self.norm_feed_forward(grid))


class AttentionGroup(nn.Module):
    """One window block, one channel block and a 3x3 convolution, on one residual path."""

    def __init__(self, channels: int, heads: int, window: int, shift: int, hidden: int) -> None:
        super().__init__()
        self.near = AttentionBlock(channels, WindowAttention(channels, heads, window, shift), hidden)
        self.whole = AttentionBlock(channels, ChannelAttention(channels, heads), hidden)
        self.local = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, grid: Tensor) -> Tensor:
        """(N, H, W, C) -> the same shape."""
        mixed = self.whole(self.near(grid))
        return grid + self.local(mixed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class TransformerExpert(nn.Module):
    """Expert-T's network: (N, 3, H, W) RGB in [0, 1] -> (N, 3, scale * H, scale * W), not clamped.

    H and W must be multiples of :attr:`size_multiple`. Untrained, it returns the bicubic enlargement.

    Args:
        channels: width of the features, a multiple of ``heads``.
        groups: number of (window, channel, convolution) groups; every second one shifts its windows by half.
        heads: attention heads, in windows and in channels.
        window: side of an attention window in pixels.
        hidden: width inside the feed-forward.
        scale: enlargement per side.
    """

    def __init__(
        self,
        *,
        channels: int = 48,
        groups: int = 5,
        heads: int = 2,
        window: int = 8,
        hidden: int = 96,
        scale: int = 4,
    ) -> None:
        super().__init__()
        self.scale, self.size_multiple = scale, window
        self.stem = nn.Conv2d(RGB, channels, 3, padding=1)
        self.groups = nn.ModuleList(
            AttentionGroup(channels, heads, window, window // 2 * (index % 2), hidden) for index in range(groups)
        )
        self.norm = nn.LayerNorm(channels)
        self.head = start_near_zero(nn.Conv2d(channels, RGB * scale**2, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 3, scale * H, scale * W)."""
        stem = self.stem((image - 0.5).contiguous(memory_format=torch.channels_last))
        grid = stem.permute(0, 2, 3, 1)
        for group in self.groups:
            grid = group(grid)
        features = self.norm(grid).permute(0, 3, 1, 2) + stem
        return bicubic_upscale(image, self.scale) + functional.pixel_shuffle(self.head(features), self.scale)
