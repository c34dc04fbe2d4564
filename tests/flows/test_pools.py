"""Pools follow from the cluster: everything fits at once, and every figure can be set."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.config import PoolSettings
from flows.pools import Pool, PoolPlan, plan_pools
from storage.errors import UsageError


def pools(plan: PoolPlan) -> list[Pool]:
    return [plan.detectors, plan.experts_f, plan.experts_t, plan.compositors]


@given(cpus=st.integers(1, 512), gpus=st.integers(0, 16))
@settings(deadline=None, derandomize=True)
def test_all_actors_fit_at_once_and_leave_room_for_tasks(cpus: int, gpus: int) -> None:
    plan = plan_pools(cpus, gpus, PoolSettings())
    assert all(pool.size >= 1 and pool.num_cpus > 0 and pool.threads >= 1 for pool in pools(plan))
    assert sum(pool.size * pool.num_cpus for pool in pools(plan)) <= 0.9 * cpus + 1e-9
    assert sum(pool.size * pool.num_gpus for pool in pools(plan)) <= gpus


def test_two_cores_get_an_actor_of_each_kind_with_small_shares() -> None:
    plan = plan_pools(2, 0, PoolSettings())
    assert [pool.size for pool in pools(plan)] == [1, 2, 2, 1]
    assert {pool.device for pool in pools(plan)} == {"cpu"}


def test_each_gpu_holds_a_detector_and_both_experts() -> None:
    plan = plan_pools(32, 2, PoolSettings())
    assert [pool.size for pool in pools(plan)[:3]] == [2, 2, 2]
    assert [pool.device for pool in pools(plan)] == ["cuda", "cuda", "cuda", "cpu"]


def test_sizes_that_are_set_are_kept() -> None:
    plan = plan_pools(8, 0, PoolSettings(detectors=3, experts_f=1, experts_t=5, compositors=4))
    assert [pool.size for pool in pools(plan)] == [3, 1, 5, 4]


def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(UsageError, match="no GPU"):
        plan_pools(8, 0, PoolSettings(device="cuda"))


def test_cpu_is_kept_to_where_there_are_gpus() -> None:
    assert plan_pools(8, 4, PoolSettings(device="cpu")).experts_t.device == "cpu"
