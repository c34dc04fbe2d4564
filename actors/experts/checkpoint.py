"""Reading weights from a file: tensors only, whole or not at all, and nothing in the file is executed."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from actors.experts.architectures import UnfitStateError, network_from_state
from weights import WeightsError

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
"""First bytes of a zipped (torch 1.6 and later) and of a bare pickle."""

_SAFETENSORS_HEADER = b"{"
"""What follows the eight bytes of a safetensors file's length of its header, the first of which may be a pickle's."""

_WRAPPERS = ("params_ema", "params-ema", "params", "G", "model_state_dict", "state_dict", "model", "net")
"""Keys under which training scripts keep the weights that are meant to be used, beside everything else."""

_PREFIXES = ("module.", "netG.")
"""What some training scripts put before every key."""

_DEEPEST = 4
"""Wrappers around wrappers that are opened; a pickle's dictionary may even hold itself."""

_ASKED_FOR = re.compile(r"GLOBAL ([\w.]+)")
"""In what torch says of a pickle that is more than weights."""


def network_from_file(path: Path, *, scale: int) -> nn.Module:
    """Load a network of facemill's own architectures and refuse it unless everything about it fits.

    Args:
        path: a file of weights; see :func:`read_state`.
        scale: the enlargement that the network must have.

    Returns:
        The network in eval mode, float32, on the CPU.

    Raises:
        WeightsError: the file cannot be read, is of another architecture or scale, or holds a value that is not a
            number.
    """
    return network_of(read_state(path), str(path), scale=scale)


def network_between(faithful: Path, natural: Path, fidelity: float, *, scale: int) -> nn.Module:
    """Load two sets of weights of one network and interpolate every parameter between them.

    ``fidelity * faithful + (1 - fidelity) * natural`` (network interpolation, Wang et al., ESRGAN, 2018, section 3.4),
    to the bit the one set at fidelity 1 and the other at 0, and both where they are equal.

    Args:
        faithful, natural: files with the same keys and shapes.
        fidelity: 0 to 1.
        scale: the enlargement that the network must have.

    Returns:
        The network in eval mode, float32, on the CPU.

    Raises:
        WeightsError: as :func:`network_from_file` for either file, or the two are not sets of one network.
    """
    ends = {path: read_state(path) for path in (faithful, natural)}
    for path, state in ends.items():
        network_of(state, str(path), scale=scale)
    start, end = ends[natural], ends[faithful]
    for key in sorted(start.keys() | end.keys()):
        shapes = [tuple(state[key].shape) if key in state else None for state in (end, start)]
        if shapes[0] != shapes[1]:
            raise WeightsError(
                f"{faithful} and {natural} are not sets of one network ({key} has shapes {shapes[0]} and {shapes[1]}); "
                "train the one from the other"
            )
    between = {key: torch.lerp(start[key].float(), end[key].float(), fidelity) for key in start}
    return network_of(between, f"{faithful} and {natural}", scale=scale)


def network_of(state: dict[str, Tensor], where: str, *, scale: int) -> nn.Module:
    """The network of a state dict of facemill's own architectures; `where` is what a refusal names.

    Raises:
        WeightsError: it does not fit, enlarges by another factor, or holds a value that is not a number.
    """
    try:
        network = network_from_state(state)
    except UnfitStateError as error:
        raise WeightsError(f"{where}: {error}; use whole weights of one of these networks") from error
    if network.scale != scale:
        raise WeightsError(f"{where}: enlarges x{network.scale}, but an expert enlarges x{scale}; use x{scale} weights")
    refuse_not_finite(state, where)
    return network


def refuse_not_finite(state: dict[str, Tensor], where: str) -> None:
    """Raise WeightsError where a value is NaN or infinite."""
    broken = next((key for key, value in state.items() if not torch.isfinite(value).all()), None)
    if broken is not None:
        raise WeightsError(f"{where}: {broken} holds NaN or infinity; the training diverged: use an earlier state")


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a .safetensors file, or from a PyTorch checkpoint (.pth, .pt, .ckpt) of tensors alone.

    What kind a file is, its first bytes tell, not its name. A checkpoint is read by torch's unpickler for weights,
    which knows tensors and plain containers and refuses all else unexecuted. Where a training script wrapped the
    weights (``params_ema``, ``state_dict``, ``G`` ...) they are unwrapped, and a common ``module.`` is cut off.

    Raises:
        WeightsError: the file is absent, a folder, not whole, or holds anything but tensors.
    """
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder; name the weights file in it")
    try:
        with path.open("rb") as content:
            start = content.read(9)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if start.startswith(_PICKLE_STARTS) and not start.endswith(_SAFETENSORS_HEADER):
        return _unwrapped(_read_checkpoint(path), path)
    try:
        return _unwrapped(load_file(path), path)
    except (SafetensorError, ValueError) as error:
        raise WeightsError(
            f"{path}: truncated, or neither safetensors nor a checkpoint ({error}); fetch it again"
        ) from error


def _read_checkpoint(path: Path) -> Any:
    try:
        with path.open("rb") as content:  # given a path, torch would believe its suffix
            return torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = _ASKED_FOR.search(str(error))
        what = f"asks for {asked[1]}, which could run code" if asked else "is damaged, or holds more than tensors"
        raise WeightsError(
            f"{path}: is a pickle that {what}; it was not loaded: save its weights alone, best as .safetensors"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(f"{path}: truncated, or no checkpoint of PyTorch ({reason}); fetch it again") from error


def _unwrapped(content: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(_DEEPEST):
        if not isinstance(content, dict):
            break
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path}: holds no weights by name, but {type(content).__name__}; save a state dict")
    unnamed = next((key for key in content if not isinstance(key, str)), None)
    if unnamed is not None:
        raise WeightsError(f"{path}: {unnamed!r} in it is no name of a weight; save a state dict alone")
    stray = next((key for key, value in content.items() if not isinstance(value, Tensor)), None)
    if stray is not None:
        raise WeightsError(f"{path}: {stray!s} in it is no tensor; save a state dict alone")
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in content):
            content = {key.removeprefix(prefix): value for key, value in content.items()}
    return content
