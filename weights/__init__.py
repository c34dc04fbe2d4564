"""What the experts know: their weights, and the registry of every weight file that facemill knows."""

from weights.choice import ExpertWeights, choose_weights, find_model
from weights.fidelity import DEFAULT_FIDELITY, mixed_sha256, weight_sets
from weights.registry import (
    Source,
    WeightsEntry,
    WeightsError,
    entry_of,
    find_weights,
    read_registry,
    sha256_of,
    user_cache,
    verify_weights,
    weights_folder,
)

__all__ = [
    "DEFAULT_FIDELITY",
    "ExpertWeights",
    "Source",
    "WeightsEntry",
    "WeightsError",
    "choose_weights",
    "entry_of",
    "find_model",
    "find_weights",
    "mixed_sha256",
    "read_registry",
    "sha256_of",
    "user_cache",
    "verify_weights",
    "weight_sets",
    "weights_folder",
]
