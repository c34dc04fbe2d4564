"""The device that a command was told to compute on."""

from __future__ import annotations

import torch

from actors.experts.expert import has_bfloat16
from storage.errors import UsageError, explain


def usable_device(device: str) -> torch.device:
    """The device, if torch can compute there.

    Raises:
        UsageError: it cannot, or there is none of that name.
    """
    try:
        return torch.zeros(1, device=torch.device(device)).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device}: torch cannot use it here ({explain(error)})") from error


def learns_in_bfloat16(device: torch.device) -> bool:
    """Whether a training computes in bfloat16 there: CUDA from compute capability 8.0 on, CPUs with AMX.

    Restoring on a CPU never does: its results would depend on which machine of a cluster they came from. A training
    depends on its machine's pace and threads anyway.
    """
    if device.type == "cpu":
        return bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    return has_bfloat16(device)
