"""The device that a command was told to compute on."""

from __future__ import annotations

import torch

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
