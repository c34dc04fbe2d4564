"""Other people's models are loaded once before a job begins: an unfit one is told of at once, not by every actor."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import ray

from actors.expert_restorer import loaded_expert
from actors.routing import Decision
from flows.job import Job
from storage.errors import explain
from weights import ExpertWeights, WeightsError

Given = Sequence[tuple[Decision, ExpertWeights]]


def models_given(job: Job) -> Given:
    """What takes the place of an expert."""
    return [(expert, weights) for expert, weights in job.experts.items() if weights.model is not None]


def check_models_here(given: Given) -> None:
    """Load each model in a process of its own on this machine, before Ray starts here: the driver has no torch.

    Raises:
        WeightsError: one cannot be used.
    """
    context = multiprocessing.get_context("spawn")
    ignore_ctrl_c = (signal.SIGINT, signal.SIG_IGN)  # it ends with this process, and without a word
    try:
        with ProcessPoolExecutor(1, context, initializer=signal.signal, initargs=ignore_ctrl_c) as process:
            _raise_first([process.submit(reason_against, expert, weights).result() for expert, weights in given])
    except BrokenProcessPool as error:
        raise WeightsError(f"loading {_named(given)}: the process that did was killed ({explain(error)})") from error


def check_models_on_the_cluster(given: Given) -> None:
    """Load each model in a task of its own, where the files must be.

    Raises:
        WeightsError: one cannot be used.
    """
    task = ray.remote(num_cpus=0.5, max_retries=1)(reason_against)
    try:
        _raise_first(ray.get([task.remote(expert, weights) for expert, weights in given]))
    except ray.exceptions.RayError as error:
        raise WeightsError(f"loading {_named(given)}: {explain(error)}") from error


def _raise_first(reasons: Sequence[str]) -> None:
    for reason in filter(None, reasons):
        raise WeightsError(reason)


def _named(given: Given) -> str:
    return ", ".join(str(weights.model) for _, weights in given)


def reason_against(expert: Decision, weights: ExpertWeights) -> str:
    """Why a model cannot take an expert's place; empty when it can."""
    try:
        loaded_expert(expert, weights)
    except WeightsError as error:
        return str(error)
    return ""
