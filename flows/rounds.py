"""Rounds of the pools over the shards: another one when a node of the cluster was lost, with what it was at.

Ray repeats what was on a lost node. A repetition may meet an actor that is itself not begun again yet, and so use up
its tries within seconds. Shards that are missing for that are begun again on the nodes that are left; those that end
their workers themselves are tried once more for each node that is lost, and no more.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing

import ray
from rich.console import Console

from flows.config import PoolSettings
from flows.job import Job
from flows.ledger import Ledger
from flows.pipeline import receipts
from flows.pools import PoolPlan, plan_pools
from flows.steps import say
from storage.receipts import Receipt
from storage.shards import Shard
from storage.words import counted

_FOUND_DEAD_WITHIN_SECONDS = 40.0
"""Ray finds a node dead that does not answer for about half a minute."""
_LOOK_EVERY_SECONDS = 1.0


def pools_of_the_cluster(settings: PoolSettings) -> PoolPlan:
    """Pools for the nodes that are alive now.

    Raises:
        UsageError: `device: cuda` without a GPU.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    with_cores = [node["CPU"] for node in nodes if node.get("CPU")]
    return plan_pools(with_cores or [1.0], sum(node.get("GPU", 0.0) for node in nodes), settings)


def receipts_in_rounds(
    job: Job, shards: Sequence[Shard], ledger: Ledger, pools: PoolPlan, console: Console
) -> Generator[Receipt, None, None]:
    """As `flows.pipeline.receipts`, from a cluster that may lose nodes.

    Args:
        ledger: is told each receipt before the next is asked for.
        pools: of the first round.
    """
    lost = _lost_nodes()
    while shards:
        with closing(receipts(job, shards, pools)) as arriving:
            yield from arriving
        shards = [shard for plan in ledger.undecided() for shard in ledger.missing(plan.key)]
        if not shards or not (lost_now := _newly_lost(lost)):
            return
        lost |= lost_now
        say(console, f"the cluster lost {counted(len(lost_now), 'node')}: {counted(len(shards), 'shard')} begun again")
        pools = pools_of_the_cluster(job.config.pools)


def _newly_lost(before: frozenset[str]) -> frozenset[str]:
    """Nodes that were lost since then; waits for Ray to find out, where there are other nodes than this one."""
    until = time.monotonic() + (_FOUND_DEAD_WITHIN_SECONDS if len(ray.nodes()) > 1 else 0)
    while not (lost := _lost_nodes() - before) and time.monotonic() < until:
        time.sleep(_LOOK_EVERY_SECONDS)
    return lost


def _lost_nodes() -> frozenset[str]:
    return frozenset(str(node["NodeID"]) for node in ray.nodes() if not node["Alive"])
