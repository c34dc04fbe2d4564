"""Where jobs run: in a Ray session that each command starts itself, or on a cluster of two nodes on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Protocol

from tests.chaos.processes import Process

NODE_SECONDS = 120
"""A node of Ray needs up to half a minute on a busy machine, and may need a second try."""


class Ground(Protocol):
    """What a job's command is told of Ray, and which raylets may be killed."""

    name: Literal["session", "cluster"]
    options: tuple[str, ...]

    def raylets(self, processes: list[Process]) -> list[Process]:
        """Those that may be killed."""

    def mend(self) -> None:
        """Bring back what a killed raylet took with it."""


class Session:
    """A Ray of the command's own. With its raylet it loses everything, and ends."""

    name: Literal["session", "cluster"] = "session"
    options: tuple[str, ...] = ()

    def raylets(self, processes: list[Process]) -> list[Process]:
        return [process for process in processes if process.raylet_socket]

    def mend(self) -> None:
        """The next command starts a new one."""


class TwoNodes:
    """A head, and a second node that may be lost and is replaced, as a spot machine is."""

    name: Literal["session", "cluster"] = "cluster"

    def __init__(self, nodes: subprocess.Popen[str]) -> None:
        self._nodes = nodes
        address, self._second = self._answer().split()
        self.options: tuple[str, ...] = ("--ray-address", address)

    def raylets(self, processes: list[Process]) -> list[Process]:
        return [process for process in processes if process.raylet_socket == self._second]

    def mend(self) -> None:
        assert self._nodes.stdin is not None
        self._nodes.stdin.write("replace\n")
        self._nodes.stdin.flush()
        self._second = self._answer()

    def _answer(self) -> str:
        assert self._nodes.stdout is not None
        for line in self._nodes.stdout:  # it gives up by itself
            if line.startswith("nodes: "):
                return line.removeprefix("nodes: ").strip()
        raise RuntimeError("the cluster's nodes did not start")


@contextmanager
def two_nodes(environment: Mapping[str, str]) -> Iterator[TwoNodes]:
    """A cluster for the time of the block. Its processes end with it, however this process ends."""
    command = [sys.executable, "-m", "tests.chaos.nodes"]
    with subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as nodes:
        try:
            yield TwoNodes(nodes)
        finally:
            nodes.kill()  # the kernel ends the nodes with it
