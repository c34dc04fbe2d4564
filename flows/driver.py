"""The driver's side of a run: receipts in, assemble tasks out, the outcome and the progress kept."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import ray

from flows.finishing import finish_remotely
from flows.job import Job
from flows.ledger import Ledger, VideoPlan
from flows.progress import JobProgress
from storage.catalogue import Source
from storage.errors import DestinationError, NoRoomError, explain
from storage.failures import Failure
from storage.finishing import FinishingOrder, give_up, output_path
from storage.receipts import Receipt
from storage.storage_errors import storage_errors_as


@dataclass
class Outcome:
    """How a job ended."""

    done: list[str] = field(default_factory=list)
    """Relative paths of the sources that are finished, now or in an earlier run."""
    failed: dict[str, str] = field(default_factory=dict)
    """Relative path -> reason."""
    left_alone: list[str] = field(default_factory=list)
    """Of those that failed, the ones that this run did not try: an earlier one failed for what is still so."""
    stopped: bool = False
    """Whether the first failure ended the job, as `--fail-fast` asks."""


class FirstFailureError(Exception):
    """A video failed, and the job shall end with that."""


class Driver:
    """Acts on each receipt, and knows when everything is decided."""

    def __init__(self, job: Job, ledger: Ledger, outcome: Outcome, progress: JobProgress) -> None:
        self._job, self._ledger, self._outcome, self._progress = job, ledger, outcome, progress
        self._assembling: dict[ray.ObjectRef, VideoPlan] = {}
        self._complete_before = ledger.complete_shards

    def take(self, receipt: Receipt) -> None:
        """Enter a receipt and act on what it decides.

        Raises:
            NoRoomError: a disk is full. Other shards would find the same, so nothing is gained by trying them.
        """
        if receipt.no_room:
            raise NoRoomError(receipt.error)
        plan = self._ledger.add(receipt)
        self._progress.receipt_in(receipt, self._ledger.complete_shards - self._complete_before)
        if plan is not None:
            if reason := self._ledger.failure(plan.key):
                self.give_up(plan.source, Failure(reason=reason))
            else:
                self.start_finishing(plan)
        self._collect(timeout=0)

    def start_finishing(self, plan: VideoPlan) -> None:
        """Submit the assemble task of a complete video."""
        receipts = self._ledger.complete(plan.key)
        assert receipts is not None
        order = FinishingOrder(
            area=self._job.area,
            out=self._job.out,
            shard=plan.shards[0],
            receipts=tuple(receipts),
            picture=plan.picture,
            choice=plan.choice,
            codec=self._job.config.codec,
            variants=self._job.config.variants,
            weights=self._job.weights,
            fidelity=self._job.config.fidelity,
        )
        self._assembling[finish_remotely.remote(order, self._job.store)] = plan

    def give_up(self, source: Source, failure: Failure) -> None:
        """Put a video that cannot be restored on record, unless another run of the job has restored it.

        Raises:
            FirstFailureError: the job shall end with it.
            DestinationError: the record cannot be kept.
        """
        name = source.relative_path
        with storage_errors_as(DestinationError, self._job.out):
            given_up = give_up(self._job.area, self._job.out, source, failure, self._job.store)
        if not given_up:
            self._outcome.done.append(name)
            self._progress.video_done(f"{name}: another run of this job has finished it")
            return
        self._outcome.failed[name] = failure.reason
        self._progress.video_failed(name, failure.reason)
        if self._job.config.fail_fast:
            self._outcome.stopped = True
            raise FirstFailureError(name)

    def end(self) -> None:
        """Wait for the assemble tasks, and account for every video that is still undecided."""
        while self._assembling:
            self._collect(timeout=1)
        for plan in self._ledger.undecided():
            reason = (
                "a shard of it ended its worker time after time: a decoder that crashes, more memory than the machine "
                "has, or a hang beyond --shard-timeout. Run the same command again to retry"
            )
            self.give_up(plan.source, Failure(reason=reason))

    def let_assembling_end(self) -> None:
        """Wait for the assemble tasks alone: each that succeeds gives room back."""
        while self._assembling:
            with suppress(NoRoomError, FirstFailureError):
                self._collect(timeout=1)

    def _collect(self, timeout: float) -> None:
        if not self._assembling:
            return
        ready, _ = ray.wait(list(self._assembling), num_returns=len(self._assembling), timeout=timeout)
        failed: list[tuple[Source, Failure]] = []
        for reference in ready:
            plan = self._assembling.pop(reference)
            failure, notes = _result_of(reference)
            if failure is not None:
                failed.append((plan.source, failure))
            else:
                self._outcome.done.append(plan.source.relative_path)
                named = f"{plan.source.relative_path} -> {output_path(plan.choice, 'restored')}"
                self._progress.video_done("; ".join([named, *notes]))
        for source, failure in failed:  # last: the first of them may end the job, and what is done counts
            if failure.no_room:
                raise NoRoomError(failure.reason)
            self.give_up(source, failure)


def _result_of(reference: ray.ObjectRef) -> tuple[Failure | None, list[str]]:
    try:
        failure, notes = ray.get(reference)
    except ray.exceptions.RayError as error:
        return Failure(reason=f"assembling it failed: {explain(error)}"), []
    return failure, notes
