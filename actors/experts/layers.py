"""The pieces that both experts share: the bicubic skip, the Haar transform, and the shape of an input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

RGB = 3


def bicubic_upscale(image: Tensor, scale: int) -> Tensor:
    """Enlarge by the cubic convolution kernel with a = -0.75, the one that ``cv2.INTER_CUBIC`` uses.

    Args:
        image: (N, C, H, W) floating point.
        scale: whole factor, 1 or more.

    Returns:
        (N, C, scale * H, scale * W), not clamped: cubic convolution overshoots at edges.
    """
    return functional.interpolate(image, scale_factor=float(scale), mode="bicubic", align_corners=False)


def haar_forward(image: Tensor) -> tuple[Tensor, Tensor]:
    """One level of the orthonormal 2-D Haar transform.

    Args:
        image: (N, C, H, W), H and W even.

    Returns:
        low: (N, C, H / 2, W / 2), the average of each 2x2 cell, times 2.
        detail: (N, 3 * C, H / 2, W / 2): C channels of horizontal difference, then vertical, then diagonal.
    """
    a, b = image[..., 0::2, 0::2], image[..., 0::2, 1::2]
    c, d = image[..., 1::2, 0::2], image[..., 1::2, 1::2]
    top, bottom, top_step, bottom_step = a + b, c + d, a - b, c - d
    detail = torch.cat((top_step + bottom_step, top - bottom, top_step - bottom_step), dim=1)
    return (top + bottom) / 2, detail / 2


def haar_inverse(low: Tensor, detail: Tensor) -> Tensor:
    """Undo :func:`haar_forward`.

    Args:
        low: (N, C, H, W).
        detail: (N, 3 * C, H, W), in the order that :func:`haar_forward` returns.

    Returns:
        (N, C, 2 * H, 2 * W).
    """
    horizontal, vertical, diagonal = detail.chunk(3, dim=1)
    cells = torch.stack(
        (
            low + horizontal + vertical + diagonal,
            low - horizontal + vertical - diagonal,
            low + horizontal - vertical - diagonal,
            low - horizontal - vertical + diagonal,
        ),
        dim=2,
    )
    return functional.pixel_shuffle(cells.flatten(1, 2) / 2, 2)


def start_near_zero(layer: nn.Conv2d) -> nn.Conv2d:
    """Shrink a head's last layer so that an untrained network returns its bicubic skip.

    The weights stay off zero: with all of them at zero, the layers before would get no gradient at the first
    step.
    """
    nn.init.normal_(layer.weight, std=1e-5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
