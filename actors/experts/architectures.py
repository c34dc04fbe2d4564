"""From a state dict to the network that it belongs to: recognised by its keys, measured by its shapes.

No configuration file lies beside the weights, so none can disagree with them (the way of spandrel's
registry). A new architecture is one more row in :data:`ARCHITECTURES`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from actors.experts.frequency import FrequencyExpert
from actors.experts.srnet import SRNet
from actors.experts.transformer import TransformerExpert

StateDict = Mapping[str, Tensor]


class UnfitStateError(Exception):
    """A state dict does not describe a network that facemill has; the message says what is wrong with it."""


class ExpertNetwork(Protocol):
    """What an expert needs of a network besides being a module."""

    scale: int
    """Enlargement per side."""

    size_multiple: int
    """What both sides of an input must be multiples of, in px."""


@dataclass(frozen=True)
class Handling:
    """How a network wants to be run.

    Attributes:
        side_multiple: sides that a crop is mirrored up to, px; 1 where padding would be seen everywhere.
        alone: whether crops go through it one by one, also on a GPU.
        bfloat16: whether it stands bfloat16, which is used on CUDA alone.
        channels_last: whether its memory may be laid out so; foreign code may rely on the other way.
    """

    side_multiple: int = 8
    alone: bool = False
    bfloat16: bool = True
    channels_last: bool = True


DEFAULT_HANDLING = Handling()
"""Of facemill's own networks."""


@dataclass(frozen=True)
class Architecture:
    """One kind of network.

    Attributes:
        name: class of the network, as the registry of weights names it.
        signature: a key that only this architecture has.
        build: makes the untrained network that a state dict of this kind fits.
        handling: how it wants to be run.
    """

    name: str
    signature: str
    build: Callable[[StateDict], nn.Module]
    handling: Handling = DEFAULT_HANDLING


def _count(state: StateDict, prefix: str) -> int:
    """How many numbered parts (``prefix.0.``, ``prefix.1.`` ...) a state dict has."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    return len({found[1] for key in state if (found := pattern.match(key))})


def _build_transformer(state: StateDict) -> TransformerExpert:
    positions, heads = state["groups.0.near.attention.position_bias"].shape
    return TransformerExpert(
        channels=state["stem.weight"].shape[0],
        groups=_count(state, "groups"),
        heads=heads,
        window=(math.isqrt(positions) + 1) // 2,
        hidden=state["groups.0.near.feed_forward.depthwise.weight"].shape[0],
        scale=math.isqrt(state["head.weight"].shape[0] // state["stem.weight"].shape[1]),
    )


def _build_frequency(state: StateDict) -> FrequencyExpert:
    large = state["blocks.0.large.weight"]
    return FrequencyExpert(
        channels=state["stem.weight"].shape[0],
        blocks=_count(state, "blocks"),
        hidden=state["blocks.0.expand.weight"].shape[0],
        large=large.shape[0],
        kernel=large.shape[-1],
        spectral=state["blocks.0.spectral.inward.weight"].shape[0] // 2,
    )


def _build_srnet(state: StateDict) -> SRNet:
    channels = state["body.conv_in.weight"].shape[0]
    return SRNet(
        gated=any(key.startswith("detail_head.") for key in state),
        features=state["head.0.weight"].shape[0],
        growth=state["rrdb.0.c1.weight"].shape[0],
        blocks=_count(state, "rrdb"),
        channels=channels,
        hidden=state["body.encoder.layers.0.linear1.weight"].shape[0],
        depth=_count(state, "body.encoder.layers"),
        scale=math.isqrt(state["body.conv_pre.weight"].shape[0] // channels),
    )


ARCHITECTURES = (
    Architecture("TransformerExpert", "groups.0.near.attention.position_bias", _build_transformer),
    Architecture("FrequencyExpert", "coarse_bands.weight", _build_frequency),
    # Every pixel attends to every other: padding would change the whole result.
    Architecture("SRNet", "rrdb.0.c1.weight", _build_srnet, Handling(side_multiple=1)),
)


def architecture_of(state: StateDict) -> Architecture | None:
    """Which of facemill's own architectures a state dict is of, by its keys."""
    return next((a for a in ARCHITECTURES if a.signature in state), None)


def network_from_state(state: StateDict) -> nn.Module:
    """Build the network of a state dict and fill it; every key must fit, none may be left over.

    Returns:
        The network in eval mode, float32, on the CPU; it satisfies :class:`ExpertNetwork`.

    Raises:
        UnfitStateError: no architecture has such keys, a key is missing or too many, a shape is wrong.
    """
    architecture = architecture_of(state)
    if architecture is None:
        known = ", ".join(a.name for a in ARCHITECTURES)
        raise UnfitStateError(f"its {len(state)} keys belong to no architecture that facemill knows ({known})")
    try:
        network = architecture.build(state)
    except KeyError as error:
        raise UnfitStateError(f"{architecture.name} needs the key {error.args[0]}, which is missing") from error
    except (ValueError, IndexError, ArithmeticError, RuntimeError, AssertionError) as error:
        raise UnfitStateError(f"{architecture.name} cannot be built from its shapes ({error})") from error
    _refuse_differences(architecture.name, network.state_dict(), state)
    network.load_state_dict({key: value.float() for key, value in state.items()})
    return network.eval()


def _refuse_differences(name: str, expected: StateDict, found: StateDict) -> None:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing:
        raise UnfitStateError(f"{name}: {_some(missing)} missing")
    if extra:
        raise UnfitStateError(f"{name}: {_some(extra)} too many")
    for key, value in expected.items():
        if value.shape != found[key].shape:
            raise UnfitStateError(f"{name}: {key} has shape {tuple(found[key].shape)}, expected {tuple(value.shape)}")


def _some(keys: list[str]) -> str:
    shown = ", ".join(keys[:3])
    return f"{len(keys)} key{'s' * (len(keys) > 1)} ({shown}{', ...' * (len(keys) > 3)})"
