"""What an expert of a job is made of: its own two sets of weights, or someone else's model in their place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weights.fidelity import DEFAULT_FIDELITY, mixed_sha256, weight_sets
from weights.registry import WeightsError, find_weights, read_registry, sha256_of, verify_weights


@dataclass(frozen=True)
class ExpertWeights:
    """One expert's weights, found and hashed on the machine that starts the job; every worker holds them to it.

    Attributes:
        files: (name, sha256) of what it is made of: registered sets, or the expert's own name for a model.
        fidelity: of the sets; a model has none.
        model: absolute path or registered name of someone else's model; None for the expert's own sets.
    """

    files: tuple[tuple[str, str], ...]
    fidelity: float = DEFAULT_FIDELITY
    model: str | None = None

    @property
    def sha256(self) -> str:
        """64 hex digits that identify the expert."""
        return mixed_sha256(dict(self.files), self.fidelity)


def choose_weights(expert: str, *, fidelity: float = DEFAULT_FIDELITY, model: str | None = None) -> ExpertWeights:
    """Find an expert's weights and hash them. What a model's file holds is not looked at here.

    Args:
        expert: "expert_t" or "expert_f".
        fidelity: 0 to 1; see :mod:`weights.fidelity`.
        model: path or registered name of a model that takes the expert's place.

    Raises:
        WeightsError: a file is absent, cannot be read, or is not the registered one.
    """
    if model is not None:
        path = find_model(model)
        named = str(path) if Path(model).expanduser().exists() else model
        try:
            sha256 = sha256_of(path)
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
        return ExpertWeights(((expert, sha256),), fidelity, named)
    entries = [find_weights(name) for name in weight_sets(expert, fidelity)]
    for entry in entries:
        verify_weights(entry)
    return ExpertWeights(tuple((entry.name, entry.sha256) for entry in entries), fidelity)


def find_model(model: str) -> Path:
    """The file of a model that is given by its path, or by its name in the registry; the latter is verified.

    Raises:
        WeightsError: there is no such file and no such name, it is a folder, or not the registered file.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder; name the weights file in it")
    if path.exists():
        return path.resolve()
    if model in read_registry():
        return verify_weights(find_weights(model))
    raise WeightsError(f"{model}: neither a file nor a registered name; `facemill weights list` shows the names")
