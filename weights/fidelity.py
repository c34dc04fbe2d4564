"""An expert's two sets of weights, and the fidelity that mixes them.

``faithful`` is trained to be close to the truth, ``natural`` goes on from it towards what looks real. Between the
two, every parameter is interpolated: ``fidelity * faithful + (1 - fidelity) * natural`` (network interpolation, Wang
et al., ESRGAN, 2018, section 3.4). Nothing here needs torch: the driver names jobs without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

DEFAULT_FIDELITY = 0.0
"""Share of the faithful set unless told otherwise: where faces look sharpest and are still themselves."""


def weight_sets(expert: str, fidelity: float) -> dict[str, float]:
    """The registered names of the sets that an expert is made of, each with its share, above 0; they add up to 1.

    Args:
        expert: "expert_t" or "expert_f".
        fidelity: 0 (natural alone) to 1 (faithful alone).

    Raises:
        ValueError: the fidelity is outside of 0 to 1.
    """
    if not 0 <= fidelity <= 1:
        raise ValueError(f"fidelity is {fidelity}, expected 0 to 1")
    shares = {f"{expert}_faithful": fidelity, f"{expert}_natural": 1 - fidelity}
    return {name: share for name, share in shares.items() if share > 0}


def mixed_sha256(sets: Mapping[str, str], fidelity: float) -> str:
    """64 hex digits that identify an expert made of these sets: a set that stands alone keeps its file's hash.

    Args:
        sets: name -> sha256 of its file, those that :func:`weight_sets` names.
        fidelity: 0 to 1.
    """
    if len(sets) == 1:
        return next(iter(sets.values()))
    told = "\n".join([*(f"{name} {sha256}" for name, sha256 in sorted(sets.items())), repr(float(fidelity))])
    return hashlib.sha256(told.encode()).hexdigest()
