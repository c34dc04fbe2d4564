"""The job's account: which shards of which video are in, and when a video is ready to be assembled."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from storage.catalogue import Source
from storage.containers import ContainerChoice
from storage.encoding import OutputPicture
from storage.receipts import Receipt
from storage.shards import PtsRange, Shard, chain_covering


@dataclass(frozen=True)
class VideoPlan:
    """What is to be done for one source."""

    shards: tuple[Shard, ...]
    """In order of time, tiling all of it."""
    picture: OutputPicture
    choice: ContainerChoice

    @property
    def source(self) -> Source:
        return self.shards[0].source

    @property
    def key(self) -> str:
        return self.source.key

    def expected_frames(self, shards: int) -> int:
        """Frames in this many of its shards, by the header: for showing progress only."""
        probe = self.shards[0].probe
        return round((probe.duration or 0) / probe.frame_ticks * shards / len(self.shards))


@dataclass
class _ShardAccount:
    """Receipts of one planned shard: one, or one for each part that it was cut into."""

    shard: Shard
    receipts: dict[PtsRange, Receipt] = field(default_factory=dict)
    chain: list[PtsRange] | None = None
    """The ranges that tile the shard, once they all are in."""

    def add(self, receipt: Receipt) -> bool:
        """Enter a receipt; whether the shard is complete by it and was not before."""
        self.receipts[receipt.range] = receipt
        was_complete = self.chain is not None
        self.chain = chain_covering(self.shard.range, self.receipts)
        return self.chain is not None and not was_complete


class _VideoAccount:
    def __init__(self, plan: VideoPlan) -> None:
        self.plan = plan
        self.shards = [_ShardAccount(shard) for shard in plan.shards]
        self.incomplete = len(self.shards)
        self.error = ""
        self.closed = False
        self._cuts = [shard.range.start or 0 for shard in plan.shards[1:]]

    def shard_of(self, part: PtsRange) -> _ShardAccount:
        """The planned shard that a range begins in."""
        return self.shards[0 if part.start is None else bisect_right(self._cuts, part.start)]


class Ledger:
    """Takes receipts in any order, a receipt any number of times, and says what follows from each."""

    def __init__(self, plans: Iterable[VideoPlan]) -> None:
        self._accounts = {plan.key: _VideoAccount(plan) for plan in plans}
        self.complete_shards = 0
        """Planned shards that receipts tile."""

    def add(self, receipt: Receipt) -> VideoPlan | None:
        """Enter a receipt. Returns its video's plan when this receipt decides the video: complete, or failed."""
        account = self._accounts[receipt.video]
        if account.closed:
            return None
        if receipt.error:
            account.error = receipt.error
            account.closed = True
            return account.plan
        completed = account.shard_of(receipt.range).add(receipt)
        account.incomplete -= completed
        self.complete_shards += completed
        account.closed = account.incomplete == 0
        return account.plan if account.closed else None

    def complete(self, key: str) -> list[Receipt] | None:
        """The receipts that tile the video's whole time, in order; None while some are missing."""
        chained = [(shard, shard.chain) for shard in self._accounts[key].shards]
        if any(chain is None for _, chain in chained):
            return None
        return [shard.receipts[part] for shard, chain in chained for part in chain or ()]

    def missing(self, key: str) -> list[Shard]:
        """The planned shards that no receipts tile yet."""
        return [account.shard for account in self._accounts[key].shards if account.chain is None]

    def failure(self, key: str) -> str:
        """Why the video failed; empty when it did not."""
        return self._accounts[key].error

    def undecided(self) -> list[VideoPlan]:
        """Videos that are neither complete nor failed."""
        return [account.plan for account in self._accounts.values() if not account.closed]
