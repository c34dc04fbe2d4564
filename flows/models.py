"""Other people's models are loaded once before a job begins: an unfit one is told of at once, not by every actor."""

from __future__ import annotations

import ray

from actors.expert_restorer import loaded_expert
from actors.routing import Decision
from flows.job import Job
from storage.errors import explain
from weights import ExpertWeights, WeightsError


def check_models(job: Job) -> None:
    """Load each model that takes an expert's place, in a task of its own: the driver has no torch.

    Raises:
        WeightsError: one cannot be used.
    """
    given = [(expert, weights) for expert, weights in job.experts.items() if weights.model is not None]
    task = ray.remote(num_cpus=0.5, max_retries=1)(reason_against)
    try:
        reasons = ray.get([task.remote(expert, weights) for expert, weights in given])
    except ray.exceptions.RayError as error:
        raise WeightsError(
            f"loading {', '.join(str(weights.model) for _, weights in given)}: {explain(error)}"
        ) from error
    for reason in filter(None, reasons):
        raise WeightsError(reason)


def reason_against(expert: Decision, weights: ExpertWeights) -> str:
    """Why a model cannot take an expert's place; empty when it can."""
    try:
        loaded_expert(expert, weights)
    except WeightsError as error:
        return str(error)
    return ""
