"""The assemble task: `storage.finishing` as a Ray task of its own."""

from __future__ import annotations

import ray

from actors.deadline import ends_process_after
from actors.work_log import tell
from storage.errors import NoRoomError, explain
from storage.failures import Failure
from storage.finishing import FinishingOrder, finish_video
from storage.shards import PtsRange
from storage.store import Store

_LONGEST_FLOOR_SECONDS = 3600
_LONGEST_PER_SECOND_OF_VIDEO = 20


def finishing_seconds(order: FinishingOrder) -> float:
    """What the slowest plausible assembling takes: twenty seconds of a busy core for a second of each result, which is
    decoded.
    """
    seconds = order.shard.probe.seconds * len(order.variants)
    return max(_LONGEST_FLOOR_SECONDS, _LONGEST_PER_SECOND_OF_VIDEO * seconds)


@ray.remote(num_cpus=0.1, max_retries=3)  # it copies packets: storage, not the core, is what it waits for
def finish_remotely(order: FinishingOrder, store: Store) -> tuple[Failure | None, list[str]]:
    """Finish a video; returns (why it could not be, if so; what a person should know of it)."""
    tell("assemble", "begins", order.shard.source, PtsRange(None, None))
    try:
        with ends_process_after(finishing_seconds(order)):
            return None, finish_video(order, store)
    except Exception as error:  # a video's failure is its own: it becomes a row with its reason
        return Failure(reason=explain(error, order.shard.source.url), no_room=isinstance(error, NoRoomError)), []
