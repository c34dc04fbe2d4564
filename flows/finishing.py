"""The assemble task: `storage.finishing` as a Ray task of its own."""

from __future__ import annotations

import ray

from storage.errors import explain
from storage.finishing import FinishingOrder, finish_video
from storage.store import Store


@ray.remote(num_cpus=0.1, max_retries=3)  # it copies packets: storage, not the core, is what it waits for
def finish_remotely(order: FinishingOrder, store: Store) -> tuple[str, list[str]]:
    """Finish a video; returns (why it could not be, or an empty string; what a person should know of it)."""
    try:
        return "", finish_video(order, store)
    except Exception as error:  # a video's failure is its own: it becomes a row with its reason
        return explain(error), []
