"""How many actors each pool gets, and what each of them holds: worked out from the cluster, every figure settable."""

from __future__ import annotations

import math
from dataclasses import dataclass

from flows.config import PoolSettings
from storage.errors import UsageError

_POOLS_CPU_SHARE = 0.9
"""Of the cluster's cores; the rest is for probing and assembling, which would starve otherwise."""

_GPU_SHARE = 0.25
"""Of a GPU, for a detector or an expert. Ray packs fractions only when they divide 1."""


@dataclass(frozen=True)
class Pool:
    """One actor pool."""

    size: int
    num_cpus: float
    """Cores Ray sets aside for each actor: a share, so that pools whose work alternates use the same cores."""
    num_gpus: float
    threads: int
    """Threads each actor computes with."""

    @property
    def device(self) -> str:
        return "cuda" if self.num_gpus else "cpu"


@dataclass(frozen=True)
class PoolPlan:
    """The four pools of a job."""

    detectors: Pool
    experts_f: Pool
    experts_t: Pool
    compositors: Pool


def plan_pools(cpus: float, gpus: float, settings: PoolSettings) -> PoolPlan:
    """Sizes for a cluster of `cpus` cores and `gpus` GPUs.

    On CPUs the experts are most of the work: each expert pool gets three quarters as many actors as there are cores,
    of one thread each, and Ray is told small shares so that they all fit. On GPUs each one holds a detector and an
    expert of either kind, and the cores composite.

    Raises:
        UsageError: `device: cuda` without a GPU.
    """
    if settings.device == "cuda" and gpus < 1:
        raise UsageError("--device cuda: Ray finds no GPU. Use --device cpu, or join a cluster that has one")
    cores = max(1, math.floor(cpus))
    on_gpu = gpus >= 1 and settings.device != "cpu"
    few, many = (math.floor(gpus), math.floor(gpus)) if on_gpu else (max(1, cores // 4), max(1, round(cores * 0.75)))
    sizes = {
        "detectors": settings.detectors or few,
        "experts_f": settings.experts_f or many,
        "experts_t": settings.experts_t or many,
        "compositors": settings.compositors or (max(1, cores // 2) if on_gpu else max(1, cores // 4)),
    }
    share = math.floor(1000 * min(1.0, _POOLS_CPU_SHARE * cores / sum(sizes.values()))) / 1000
    gpu_share = _GPU_SHARE if on_gpu else 0.0
    return PoolPlan(
        detectors=Pool(sizes["detectors"], share, gpu_share, 1),
        experts_f=Pool(sizes["experts_f"], share, gpu_share, 1),
        experts_t=Pool(sizes["experts_t"], share, gpu_share, 1),
        compositors=Pool(sizes["compositors"], share, 0.0, max(1, min(4, cores // sizes["compositors"]))),
    )
