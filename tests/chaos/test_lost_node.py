"""A node of the cluster that is lost for good: the job ends on what is left, in the run that met it."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from ray._private.ray_constants import ENABLE_RAY_CLUSTERS_ENV_VAR

from storage.store import Store
from tests.chaos.archive import make_archive
from tests.chaos.disturbed import DisturbedJob
from tests.chaos.grounds import TwoNodes, two_nodes
from tests.chaos.processes import MARK
from tests.chaos.results import Archive
from tests.chaos.trial import LOSSLESS, SHORT_SHARDS

FRAMES = 30


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_node_that_is_lost_and_does_not_come_back_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TwoNodes, "mend", lambda _: None)
    videos = make_archive(tmp_path / "in", 5, FRAMES, "t")
    ray_folder = Path(tempfile.mkdtemp(prefix="fm-"))  # its sockets need a short path
    (tmp_path / "tmp").mkdir()
    own = {
        MARK: ray_folder.name,
        "RAY_TMPDIR": str(ray_folder),
        "TMPDIR": str(tmp_path / "tmp"),
        ENABLE_RAY_CLUSTERS_ENV_VAR: "0",
    }
    environment = {**os.environ, **own}
    options = (*LOSSLESS, *SHORT_SHARDS, "--experts", "t", "--no-identity-gate")
    command = ("restore", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *options)
    try:
        with two_nodes(environment) as nodes:
            job = DisturbedJob(command, environment, nodes, tmp_path / "log")
            story = job.finish(random.Random(3), 1, ("raylet",), 0.5)
    finally:
        shutil.rmtree(ray_folder, ignore_errors=True)
    assert story.by_victim == {"raylet": 1}
    assert (story.runs, story.failures) == (1, [])
    archive = Archive(str(tmp_path / "out"), Store())
    assert archive.leftovers() == []
    for video in videos:
        assert len(archive.pictures(video)) == FRAMES
