"""The job's account: which shards of which video are in, and when a video is ready to be assembled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from storage.containers import ContainerChoice
from storage.encoding import OutputPicture
from storage.receipts import Receipt
from storage.shards import PtsRange, Shard, chain_covering

_EVERYTHING = PtsRange(None, None)


@dataclass(frozen=True)
class VideoPlan:
    """What is to be done for one source."""

    shards: tuple[Shard, ...]
    """In order of time, tiling all of it."""
    picture: OutputPicture
    choice: ContainerChoice

    @property
    def key(self) -> str:
        return self.shards[0].source.key

    def expected_frames(self, shards: int) -> int:
        """Frames in this many of its shards, by the header: for showing progress only."""
        probe = self.shards[0].probe
        return round((probe.duration or 0) / probe.frame_ticks * shards / len(self.shards))


@dataclass
class _VideoAccount:
    plan: VideoPlan
    receipts: dict[PtsRange, Receipt] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    closed: bool = False


class Ledger:
    """Takes receipts in any order, a receipt any number of times, and says what follows from each."""

    def __init__(self, plans: Iterable[VideoPlan]) -> None:
        self._accounts = {plan.key: _VideoAccount(plan) for plan in plans}

    def add(self, receipt: Receipt) -> VideoPlan | None:
        """Enter a receipt. Returns its video's plan when this receipt decides the video: complete, or failed."""
        account = self._accounts[receipt.video]
        if account.closed:
            return None
        if receipt.error:
            account.errors.append(receipt.error)
            account.closed = True
            return account.plan
        account.receipts[receipt.range] = receipt
        if self.complete(receipt.video) is None:
            return None
        account.closed = True
        return account.plan

    def complete(self, key: str) -> list[Receipt] | None:
        """The receipts that tile the video's whole time, in order; None while some are missing."""
        account = self._accounts[key]
        chain = chain_covering(_EVERYTHING, account.receipts)
        return None if chain is None else [account.receipts[part] for part in chain]

    def missing(self, key: str) -> list[Shard]:
        """The planned shards that no receipts tile yet."""
        account = self._accounts[key]
        return [shard for shard in account.plan.shards if chain_covering(shard.range, account.receipts) is None]

    def failure(self, key: str) -> str:
        """Why the video failed; empty when it did not."""
        return next(iter(self._accounts[key].errors), "")

    def undecided(self) -> list[VideoPlan]:
        """Videos that are neither complete nor failed."""
        return [account.plan for account in self._accounts.values() if not account.closed]

    def tiers(self) -> Counter[str]:
        """Faces in frames by tier, over all receipts."""
        total: Counter[str] = Counter()
        for account in self._accounts.values():
            for receipt in account.receipts.values():
                total.update(receipt.tiers)
        return total
