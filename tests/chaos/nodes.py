"""`python -m tests.chaos.nodes`: two nodes of Ray; a line on stdin replaces the second. The environment says where.

It prints `nodes: ADDRESS SOCKET`, then `nodes: SOCKET` for each replacement: the socket of the second node's raylet.
"""

from __future__ import annotations

import sys
from typing import Any

from ray.cluster_utils import Cluster

_NODE: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 256 << 20, "include_dashboard": False}
_TRIES = 3
"""Of a node: Ray gives one half a minute to start."""


def add_node(cluster: Cluster) -> Any:
    """A new node; on a machine that is too busy, after some tries."""
    for trial in range(_TRIES):
        try:
            return cluster.add_node(**_NODE)
        except Exception as error:  # Ray raises no narrower one
            print(f"a node did not start: {error}", file=sys.stderr)
            if trial == _TRIES - 1:
                raise
    raise AssertionError


def main() -> None:
    cluster = Cluster()
    add_node(cluster)
    second = add_node(cluster)
    print(f"nodes: {cluster.address} {second.raylet_socket_name}", flush=True)
    for _ in sys.stdin:
        cluster.remove_node(second, allow_graceful=False)
        second = add_node(cluster)
        print(f"nodes: {second.raylet_socket_name}", flush=True)


if __name__ == "__main__":
    main()
