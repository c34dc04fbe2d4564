"""How many actors each pool gets, and what each of them holds: worked out from the cluster, every figure settable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flows.config import PoolSettings
from storage.errors import UsageError
from storage.words import counted

_POOLS_CPU_SHARE = 0.9
"""Of the cluster's cores; the rest is for probing and assembling, which would starve otherwise."""

_MOST_ACTORS_A_CORE = 16
"""Of a pool, on a machine that gets no more cores: each is a process of some 500 MB."""

_LEAST_SHARE = 1e-4
"""Ray counts cores in these."""
_BISECTIONS = 30

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


def plan_pools(node_cpus: Sequence[float], gpus: float, settings: PoolSettings) -> PoolPlan:
    """Sizes for a cluster.

    On CPUs the experts are most of the work: each expert pool gets three quarters as many actors as there are cores,
    of one thread each, and Ray is told small shares so that they all fit. On GPUs each one holds a detector and an
    expert of either kind, and the cores composite.

    Args:
        node_cpus: cores of each node.
        gpus: of all nodes.

    Raises:
        UsageError: `device: cuda` without a GPU.
    """
    if settings.device == "cuda" and gpus < 1:
        raise UsageError("--device cuda: Ray finds no GPU. Use --device cpu, or join a cluster that has one")
    cores = max(1, math.floor(sum(node_cpus)))
    on_gpu = gpus >= 1 and settings.device != "cpu"
    few, many = (math.floor(gpus), math.floor(gpus)) if on_gpu else (max(1, cores // 4), max(1, round(cores * 0.75)))
    sizes = {
        "detectors": settings.detectors or few,
        "experts_f": settings.experts_f or many,
        "experts_t": settings.experts_t or many,
        "compositors": settings.compositors or (max(1, cores // 2) if on_gpu else max(1, cores // 4)),
    }
    share = _share(node_cpus, sum(sizes.values()))
    gpu_share = _GPU_SHARE if on_gpu else 0.0
    return PoolPlan(
        detectors=Pool(sizes["detectors"], share, gpu_share, 1),
        experts_f=Pool(sizes["experts_f"], share, gpu_share, 1),
        experts_t=Pool(sizes["experts_t"], share, gpu_share, 1),
        compositors=Pool(sizes["compositors"], share, 0.0, max(1, min(4, cores // sizes["compositors"]))),
    )


def require_place(cpus: float, gpus: float, settings: PoolSettings) -> None:
    """Refuse pools that a machine of so many cores and GPUs, to which no other comes, has no place for.

    Raises:
        UsageError: there are too many actors, or `device: cuda` without a GPU.
    """
    plan = plan_pools([cpus], gpus, settings)
    most = _MOST_ACTORS_A_CORE * max(1, math.floor(cpus))
    for name in ("detectors", "experts_f", "experts_t", "compositors"):
        size = getattr(plan, name).size
        if size > most:
            raise UsageError(
                f"--{name.replace('_', '-')} {size}: this machine has {counted(math.floor(cpus), 'core')}, for which "
                f"{most} are the most. Choose fewer, or join a larger cluster"
            )
    on_gpu = sum(pool.size for pool in (plan.detectors, plan.experts_f, plan.experts_t) if pool.num_gpus)
    if on_gpu * _GPU_SHARE > gpus:
        raise UsageError(
            f"{on_gpu} detectors and experts: this machine has GPUs for {math.floor(gpus / _GPU_SHARE)}. Choose fewer "
            "by --detectors, --experts-f and --experts-t, or --device cpu"
        )


def _share(node_cpus: Sequence[float], actors: int) -> float:
    """Share of a core for each actor, so large that each node gets as many as it has cores for.

    All fit, whole ones on each node. On nodes of one size all fit as well when one is lost: without room for its actors
    a pool of which it held the only one would wait until it comes back. No node is given more than twice its part for
    this: Ray spreads actors evenly over nodes, not over cores.
    """
    without_largest = sorted(node_cpus)[:-1] or node_cpus
    share = max(_fitting(without_largest, actors), _fitting(node_cpus, actors) / 2)
    return max(_LEAST_SHARE, math.floor(share / _LEAST_SHARE) * _LEAST_SHARE)


def _fitting(node_cpus: Sequence[float], actors: int) -> float:
    """The largest share, up to a whole core, at which so many actors fit."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        fit = sum(math.floor(_POOLS_CPU_SHARE * cpus / middle) for cpus in node_cpus)
        low, high = (middle, high) if fit >= actors else (low, middle)
    return low
