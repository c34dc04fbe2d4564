"""Ray's session on one machine: nobody else can reach it, its workers are as good as others, and it leaves nothing."""

from __future__ import annotations

import importlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray._private import ray_constants

from flows import cluster
from flows.cluster import ray_session
from storage.errors import UsageError

LISTENING = "0A"
LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
"""127.0.0.1, the same as an IPv6 address, and ::1, as Linux prints them."""


def descendants(root: int) -> Iterator[int]:
    """Processes that a process started, and those they started; itself first."""
    yield root
    for task in Path(f"/proc/{root}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from descendants(int(child))


def listening_addresses() -> dict[str, str]:
    """socket inode -> address, of every TCP socket that listens on this machine."""
    lines = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()]
    return {fields[9]: fields[1].partition(":")[0] for fields in lines if fields[3] == LISTENING}


def sockets_of(process: int) -> set[str]:
    """Inodes of the sockets that a process holds."""
    inodes = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    return inodes


def test_folders_of_the_user_are_not_taken_for_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("weights", "storage", "actors", "flows")
    for name in names:
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACEMILL_WEIGHTS", "own")
    with ray_session(None):
        assert ray.get(ray.remote(lambda: os.environ["FACEMILL_WEIGHTS"]).remote()) == str(tmp_path / "own")
        seen_by_a_worker = ray.remote(lambda: [importlib.import_module(name).__file__ for name in names])
        assert ray.get(seen_by_a_worker.remote()) == [importlib.import_module(name).__file__ for name in names]
        assert Path.cwd() == tmp_path


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="sockets are read from Linux's /proc")
def test_a_local_session_cannot_be_reached_from_another_machine_and_leaves_nothing() -> None:
    with ray_session(None):
        assert ray.get(ray.remote(lambda: os.nice(0)).remote()) == os.nice(0)  # so there is a worker, too
        folder = Path(ray._private.worker._global_node.get_session_dir_path())
        assert folder.is_dir()
        processes = list(descendants(os.getpid()))
        addresses = listening_addresses()
        held = {addresses[inode] for process in processes for inode in sockets_of(process) if inode in addresses}
    assert len(processes) > 3
    assert held
    assert held <= set(LOOPBACK)
    assert not folder.exists()


def test_an_address_where_nothing_answers_is_refused() -> None:
    with pytest.raises(UsageError, match="no Ray cluster answers there"), ray_session("127.0.0.1:9"):
        pass


def test_a_cluster_on_the_loopback_alone_is_looked_for_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray 2.60 would ask the machine's own address, for minutes."""
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    monkeypatch.setenv(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "1")
    monkeypatch.setattr(cluster, "resolve_ip_for_localhost", lambda host: "127.0.0.2")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cluster._require_listener(f"127.0.0.1:{listener.getsockname()[1]}")
    assert not ray_constants.ENABLE_RAY_CLUSTER


def test_sigterm_ends_a_job_as_ctrl_c_does() -> None:
    before = signal.getsignal(signal.SIGTERM)  # Ray's, where this process has started one
    with cluster._quiet_when_interrupted() as stop_like_ctrl_c:
        stop_like_ctrl_c(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with cluster._quiet_when_interrupted():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
