"""A job: what is restored, where to, under which name. Everything later stages need to know, checked once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actors.routing import Decision
from flows.config import JobConfig
from storage.catalogue import Source, search_sources, searched_folders
from storage.errors import UsageError
from storage.receipts import WorkArea
from storage.store import Store, absolute, is_remote, join
from weights import ExpertWeights, choose_weights, entry_of

IDENTITY = "sface"
"""Registered name of the network that tells whether two faces are one person's."""


@dataclass(frozen=True)
class Job:
    """One run's settings and places."""

    config: JobConfig
    store: Store
    sources: tuple[Source, ...]
    """Sorted by relative path."""
    out: str
    """Absolute path or `s3://` URL that takes the results."""
    experts: Mapping[Decision, ExpertWeights]
    """What each expert that is asked for is made of."""
    weights: tuple[tuple[str, str], ...]
    """(name, sha256) of every weight file in use."""
    name: str
    """16 hex digits: see `JobConfig.job_id`."""
    hidden: tuple[str, ...] = ()
    """Videos that were passed over where sources were looked for, since their names begin with a dot."""
    sound: tuple[str, ...] = ()
    """Files of sound alone that were passed over there."""

    @property
    def area(self) -> WorkArea:
        """Where the job's record and working objects lie."""
        return WorkArea(join(self.out, "_facemill", self.name))


def open_job(config: JobConfig) -> Job:
    """Find the sources, check the destination and the weights, and name the job.

    Raises:
        SourceError: nothing to restore.
        UsageError: the destination lies where sources are searched, or on one of them.
        DestinationError: it does not take files.
        WeightsError: an expert that is asked for has no usable weights.
    """
    store = Store(config.s3_endpoint)
    found = search_sources(config.sources, store, follow_links=config.follow_links)
    sources = found.sources
    out = absolute(config.out)
    _refuse_searched(out, config.sources)
    _refuse_sources(out, sources)
    experts = _chosen_weights(config)
    store.check_writable(out)
    sface = entry_of(IDENTITY) if config.gates_identity else None
    weights = tuple(file for expert in experts.values() for file in expert.files)
    weights += ((sface.name, sface.sha256),) if sface else ()
    name = config.job_id(sources, dict(weights))
    return Job(config, store, tuple(sources), out, experts, weights, name, tuple(found.hidden), tuple(found.sound))


def place(url: str) -> str:
    """What two names of one place have in common: links resolved for local paths."""
    return absolute(url).rstrip("/") if is_remote(url) else os.path.realpath(absolute(url))


def _refuse_searched(out: str, arguments: Sequence[str]) -> None:
    for folder in searched_folders(arguments):
        if f"{place(out)}/".startswith(f"{place(folder)}/"):
            raise UsageError(f"--out {out} lies inside the source {folder}. Choose a folder outside of it")


def _refuse_sources(out: str, sources: Sequence[Source]) -> None:
    taken = {place(source.url): source.url for source in sources}
    for source in sources:
        over = taken.get(place(join(out, source.relative_path)))
        if over is not None:
            raise UsageError(f"--out {out} would write over the source {over}. Choose another folder")


def _chosen_weights(config: JobConfig) -> dict[Decision, ExpertWeights]:
    """What each of the job's experts is made of."""
    return {
        expert: choose_weights(expert.value, fidelity=config.fidelity, model=config.models[expert])
        for expert in sorted(config.active_experts)
    }
