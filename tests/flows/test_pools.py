"""Pools follow from the cluster: everything fits at once, and every figure can be set."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.config import PoolSettings
from flows.pools import Pool, PoolPlan, plan_pools, require_place
from storage.errors import UsageError


def pools(plan: PoolPlan) -> list[Pool]:
    return [plan.detectors, plan.experts_f, plan.experts_t, plan.compositors]


@given(node_cpus=st.lists(st.integers(1, 64), min_size=1, max_size=40), gpus=st.integers(0, 16))
@settings(deadline=None, derandomize=True)
def test_all_actors_fit_at_once_and_leave_room_for_tasks(node_cpus: list[int], gpus: int) -> None:
    plan = plan_pools(node_cpus, gpus, PoolSettings())
    assert all(pool.size >= 1 and pool.num_cpus > 0 and pool.threads >= 1 for pool in pools(plan))
    assert sum(pool.size * pool.num_cpus for pool in pools(plan)) <= 0.9 * sum(node_cpus) + 1e-9
    assert sum(pool.size * pool.num_gpus for pool in pools(plan)) <= gpus


@given(node_cpus=st.lists(st.integers(1, 64), min_size=1, max_size=40))
@settings(deadline=None, derandomize=True)
def test_whole_actors_fit_on_each_node(node_cpus: list[int]) -> None:
    assert room_of(node_cpus, plan := plan_pools(node_cpus, 0, PoolSettings())) >= actors_of(plan)


@given(cpus=st.integers(1, 64), nodes=st.integers(2, 40))
@settings(deadline=None, derandomize=True)
def test_they_fit_on_the_nodes_that_are_left_when_one_is_lost(cpus: int, nodes: int) -> None:
    plan = plan_pools([cpus] * nodes, 0, PoolSettings())
    assert room_of([cpus] * (nodes - 1), plan) >= actors_of(plan)


def test_a_small_node_is_not_given_what_a_large_one_might_lose() -> None:
    plan = plan_pools([64, 1], 0, PoolSettings())
    assert room_of([1], plan) <= 2 * actors_of(plan) / 65 + 1


def room_of(node_cpus: list[int], plan: PoolPlan) -> int:
    """How many actors Ray can place on these nodes."""
    return sum(int(cpus / plan.detectors.num_cpus + 1e-9) for cpus in node_cpus)


def actors_of(plan: PoolPlan) -> int:
    return sum(pool.size for pool in pools(plan))


def test_a_share_is_as_large_as_fits() -> None:
    """Of two nodes of two cores, 0.72 would be a share of all cores, and leave no place for the fifth actor."""
    small = PoolSettings(detectors=1, experts_f=1, experts_t=1, compositors=2)
    assert plan_pools([2], 0, small).detectors.num_cpus == pytest.approx(0.36, abs=1e-3)
    assert plan_pools([2, 2], 0, small).detectors.num_cpus == pytest.approx(0.36, abs=1e-3)
    assert plan_pools([64, 64], 0, small).detectors.num_cpus == pytest.approx(1, abs=1e-3)
    assert plan_pools([2], 0, PoolSettings(detectors=10000)).detectors.num_cpus > 0


def test_two_cores_get_an_actor_of_each_kind_with_small_shares() -> None:
    plan = plan_pools([2], 0, PoolSettings())
    assert [pool.size for pool in pools(plan)] == [1, 2, 2, 1]
    assert {pool.device for pool in pools(plan)} == {"cpu"}


def test_each_gpu_holds_a_detector_and_both_experts() -> None:
    plan = plan_pools([32], 2, PoolSettings())
    assert [pool.size for pool in pools(plan)[:3]] == [2, 2, 2]
    assert [pool.device for pool in pools(plan)] == ["cuda", "cuda", "cuda", "cpu"]


def test_sizes_that_are_set_are_kept() -> None:
    plan = plan_pools([8], 0, PoolSettings(detectors=3, experts_f=1, experts_t=5, compositors=4))
    assert [pool.size for pool in pools(plan)] == [3, 1, 5, 4]


def test_what_a_machine_has_no_place_for_is_refused() -> None:
    require_place(2, 0, PoolSettings(detectors=32))
    with pytest.raises(UsageError, match=r"^--detectors 1000: this machine has 2 cores, for which 32 are the most"):
        require_place(2, 0, PoolSettings(detectors=1000))
    require_place(16, 1, PoolSettings(detectors=2))
    with pytest.raises(UsageError, match="5 detectors and experts: this machine has GPUs for 4"):
        require_place(16, 1, PoolSettings(detectors=3))
    require_place(16, 1, PoolSettings(detectors=3, device="cpu"))


def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(UsageError, match="no GPU"):
        plan_pools([8], 0, PoolSettings(device="cuda"))


def test_cpu_is_kept_to_where_there_are_gpus() -> None:
    assert plan_pools([8], 4, PoolSettings(device="cpu")).experts_t.device == "cpu"
