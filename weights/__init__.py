"""What the experts know: their weights, and the registry of every weight file that facemill knows."""

from weights.registry import (
    Source,
    WeightsEntry,
    WeightsError,
    find_weights,
    read_registry,
    sha256_of,
    verify_weights,
)

__all__ = [
    "Source",
    "WeightsEntry",
    "WeightsError",
    "find_weights",
    "read_registry",
    "sha256_of",
    "verify_weights",
]
