"""From sources to plans: probe each in a task of its own, cut it into shards, choose where its result goes.

Nothing here imports torch, so that the workers that probe start fast.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import ray.data

from flows.config import JobConfig
from flows.ledger import VideoPlan
from storage.catalogue import Source
from storage.containers import choose_container
from storage.encoding import output_picture
from storage.errors import FacemillError, explain
from storage.probe import VideoProbe, probe_video
from storage.shards import plan_shards
from storage.store import Store

_PROBE_CPUS = 0.05
"""Share of a core: probing waits for storage more than it computes."""


def plan_videos(
    config: JobConfig, sources: Sequence[Source], store: Store
) -> tuple[list[VideoPlan], list[tuple[Source, str]]]:
    """Probe every source, one task each, and cut it into shards; what cannot be used comes with its reason."""
    items = [{"source": pickle.dumps(source)} for source in sources]
    rows = ray.data.from_items(items, override_num_blocks=len(items))
    probed = rows.map(partial(_probe_row, store=store), num_cpus=_PROBE_CPUS)
    found: dict[str, dict[str, Any]] = {row["key"]: row for row in probed.iter_rows()}
    plans, unusable = [], []
    for source in sources:
        row = found[source.key]
        try:
            if row["error"]:
                raise FacemillError(row["error"])
            plans.append(_plan_video(config, source, pickle.loads(row["probe"])))
        except FacemillError as error:
            unusable.append((source, explain(error)))
    return plans, unusable


def _probe_row(row: dict[str, Any], store: Store) -> dict[str, Any]:
    source: Source = pickle.loads(row["source"])
    try:
        return {"key": source.key, "probe": pickle.dumps(probe_video(source.url, store)), "error": ""}
    except Exception as error:  # a bad source costs itself only: it becomes a row with its reason
        return {"key": source.key, "probe": b"", "error": explain(error)}


def _plan_video(config: JobConfig, source: Source, probe: VideoProbe) -> VideoPlan:
    return VideoPlan(
        shards=tuple(plan_shards(source, probe, Fraction(config.shard_seconds).limit_denominator(1000))),
        picture=output_picture(probe, config.output_size),
        choice=choose_container(probe, source.relative_path, config.codec),
    )
