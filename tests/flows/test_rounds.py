"""Shards that went with a lost node are begun again; those that end their workers themselves are not."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

from flows import rounds
from flows.config import PoolSettings
from flows.job import Job
from flows.ledger import Ledger
from flows.pools import PoolPlan, plan_pools
from flows.rounds import receipts_in_rounds
from storage.receipts import Receipt
from storage.shards import Shard
from tests.flows.test_driver import planned
from tests.flows.test_planning import job
from tests.media import Clip, make_video, shards_of


class Cluster:
    """What Ray tells of two nodes, and what comes of each round; a cluster itself takes a minute to lose a node."""

    def __init__(self, path: Path, *, dies: bool, crashing: int = 0) -> None:
        self._plan = planned(path)
        self._plan = type(self._plan)(tuple(shards_of(path, Fraction(2, 5))), self._plan.picture, self._plan.choice)
        self._dies, self._crashing = dies, crashing
        self.rounds: list[int] = []
        self.pools: list[PoolPlan] = []
        self.ledger = Ledger([self._plan])

    @property
    def shards(self) -> tuple[Shard, ...]:
        return self._plan.shards

    def nodes(self) -> list[dict[str, Any]]:
        lost = self._dies and bool(self.rounds)
        told = {"Resources": {"CPU": 2.0}}
        return [{"NodeID": "a", "Alive": True, **told}, {"NodeID": "b", "Alive": not lost, **told}]

    def receipts(self, _: Job, shards: Sequence[Shard], pools: PoolPlan) -> Iterator[Receipt]:
        """All but the last in the first round, when the node dies; all but those that crash in any other."""
        first = not self.rounds
        self.rounds.append(len(shards))
        self.pools.append(pools)
        for number, shard in enumerate(shards):
            if number >= self._crashing and not (first and self._dies and number == len(shards) - 1):
                yield Receipt(shard.source.key, shard.range, frames=10)


def run(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(ray, "nodes", cluster.nodes)
    monkeypatch.setattr(rounds, "receipts", cluster.receipts)
    monkeypatch.setattr(rounds, "_FOUND_DEAD_WITHIN_SECONDS", 0)
    console = Console(file=io.StringIO())
    pools = plan_pools([2, 2], 0, PoolSettings())
    for receipt in receipts_in_rounds(job(tmp_path), cluster.shards, cluster.ledger, pools, console):
        cluster.ledger.add(receipt)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "a.mp4", Clip(frames=30))


def test_what_a_lost_node_took_with_it_is_begun_again_on_the_others(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(video, dies=True)
    told = run(cluster, tmp_path, monkeypatch)
    assert cluster.rounds == [len(cluster.shards), 1]
    assert told == "the cluster lost 1 node: 1 shard begun again\n"
    assert cluster.ledger.undecided() == []
    assert cluster.pools[1] == plan_pools([2], 0, PoolSettings())


def test_a_shard_that_ends_its_workers_is_not_begun_again_for_ever(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(video, dies=False, crashing=1)
    assert run(cluster, tmp_path, monkeypatch) == ""
    assert cluster.rounds == [len(cluster.shards)]
    cluster = Cluster(video, dies=True, crashing=1)
    run(cluster, tmp_path, monkeypatch)
    assert cluster.rounds == [len(cluster.shards), 2]
    assert len(cluster.ledger.undecided()) == 1
