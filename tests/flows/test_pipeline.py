"""What the job relies on Ray Data for, held against the Ray that is installed."""

import os
import signal
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest
import ray.data

from actors.deadline import each_within
from flows import patience, pipeline
from flows.cluster import ray_session
from flows.pipeline import set_ray_data_context
from flows.pools import Pool

ROW_BYTES = 1_000_000


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with ray_session(None):
        set_ray_data_context()
        yield


def three_rows(table: pa.Table) -> Iterator[pa.Table]:
    for part in range(3):
        yield pa.table({"row": [table["row"][0].as_py() * 10 + part], "crops": [b"\0" * ROW_BYTES]})


def killed_by_one_row(table: pa.Table) -> pa.Table:
    if table["row"][0].as_py() == 1:
        raise RuntimeError("this row cannot be worked on")
    return table


def rows_of(count: int) -> ray.data.Dataset:
    return ray.data.from_arrow([pa.table({"row": [number]}) for number in range(count)])


def test_every_part_of_a_shard_is_a_block_of_its_own() -> None:
    parts = rows_of(2).map_batches(three_rows, batch_size=1, batch_format="pyarrow", num_cpus=0.1).materialize()
    assert parts.count() == 6
    assert parts.num_blocks() == 6


def test_a_row_that_is_lost_costs_itself_only() -> None:
    left = rows_of(3).map_batches(killed_by_one_row, batch_size=1, batch_format="pyarrow", num_cpus=0.1)
    assert sorted(row["row"] for row in left.iter_rows()) == [0, 2]


class Stage:
    """As the stages of a job are, but that row 1 ends, or holds up, the process that works on it, every time."""

    def __init__(self, fault: str, *, threads: int, part_seconds: float) -> None:
        self.fault, self.part_seconds = fault, part_seconds

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        return each_within(self.part_seconds, self.rows(table))

    def rows(self, table: pa.Table) -> Iterator[pa.Table]:
        if table["row"][0].as_py() == 1:
            if self.fault == "hangs":
                time.sleep(600)
            os.kill(os.getpid(), signal.SIGKILL)
        yield table


@pytest.mark.parametrize("fault", ["hangs", "crashes"])
def test_a_shard_that_ends_its_worker_every_time_costs_itself_only(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "RETRIES", 1)
    pool = Pool(size=1, num_cpus=0.1, num_gpus=0, threads=1)
    done = pipeline._through(rows_of(3), Stage, pool, (fault,), most=3, part_seconds=5.0, on_device=False)
    assert sorted(row["row"] for row in done.iter_rows()) == [0, 2]
