"""Reading an expert's weights from a file: safetensors only, and whole or not at all."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from actors.experts.architectures import UnfitStateError, network_from_state
from weights import WeightsError

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
"""First bytes of a zipped (torch 1.6 and later) and of a bare pickle."""


def network_from_file(path: Path, *, scale: int) -> nn.Module:
    """Load a network and refuse it unless everything about it fits.

    Args:
        path: a .safetensors file.
        scale: the enlargement that the network must have.

    Returns:
        The network in eval mode, float32, on the CPU.

    Raises:
        WeightsError: the file is absent, a pickle, truncated, of another architecture or scale, or holds a
        value that
            is not a number.
    """
    state = read_state(path)
    try:
        network = network_from_state(state)
    except UnfitStateError as error:
        raise WeightsError(f"{path}: {error}; use weights that `facemill train` wrote") from error
    if network.scale != scale:
        raise WeightsError(f"{path}: enlarges x{network.scale}, but an expert enlarges x{scale}; use x{scale} weights")
    broken = next((key for key, value in state.items() if not torch.isfinite(value).all()), None)
    if broken is not None:
        raise WeightsError(f"{path}: {broken} holds NaN or infinity; the training diverged: use an earlier state")
    return network


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; nothing in it is executed.

    Raises:
        WeightsError: the file is absent, a pickle, or not whole.
    """
    try:
        with path.open("rb") as content:
            start = content.read(4)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if start.startswith(_PICKLE_STARTS):
        raise WeightsError(f"{path}: is a pickle, which can run code when loaded; convert it to .safetensors")
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{path}: truncated or not safetensors ({error}); fetch it again") from error
