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
        WeightsError: the file is absent, a pickle, truncated, of another architecture or scale, or holds a value that
            is not a number.
    """
    return _network_of(read_state(path), str(path), scale)


def network_between(faithful: Path, natural: Path, fidelity: float, *, scale: int) -> nn.Module:
    """Load two sets of weights of one network and interpolate every parameter between them.

    ``fidelity * faithful + (1 - fidelity) * natural`` (network interpolation, Wang et al., ESRGAN, 2018, section 3.4),
    to the bit the one set at fidelity 1 and the other at 0, and both where they are equal.

    Args:
        faithful, natural: .safetensors files with the same keys and shapes.
        fidelity: 0 to 1.
        scale: the enlargement that the network must have.

    Returns:
        The network in eval mode, float32, on the CPU.

    Raises:
        WeightsError: as :func:`network_from_file` for either file, or the two are not sets of one network.
    """
    ends = {path: read_state(path) for path in (faithful, natural)}
    for path, state in ends.items():
        _network_of(state, str(path), scale)
    start, end = ends[natural], ends[faithful]
    for key in sorted(start.keys() | end.keys()):
        shapes = [tuple(state[key].shape) if key in state else None for state in (end, start)]
        if shapes[0] != shapes[1]:
            raise WeightsError(
                f"{faithful} and {natural} are not sets of one network ({key} has shapes {shapes[0]} and {shapes[1]}); "
                "train the one from the other"
            )
    between = {key: torch.lerp(start[key].float(), end[key].float(), fidelity) for key in start}
    return _network_of(between, f"{faithful} and {natural}", scale)


def _network_of(state: dict[str, Tensor], where: str, scale: int) -> nn.Module:
    try:
        network = network_from_state(state)
    except UnfitStateError as error:
        raise WeightsError(f"{where}: {error}; use weights that `facemill train` wrote") from error
    if network.scale != scale:
        raise WeightsError(f"{where}: enlarges x{network.scale}, but an expert enlarges x{scale}; use x{scale} weights")
    broken = next((key for key, value in state.items() if not torch.isfinite(value).all()), None)
    if broken is not None:
        raise WeightsError(f"{where}: {broken} holds NaN or infinity; the training diverged: use an earlier state")
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
