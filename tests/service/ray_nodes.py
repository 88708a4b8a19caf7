"""A Ray cluster of two nodes on this machine, in a process of its own: prints its address, and loses a node.

Each node has one core. A line on stdin ends the second node at once; the end of stdin ends everything.
"""

from __future__ import annotations

import sys
from typing import Any

from ray.cluster_utils import Cluster


def main() -> None:
    """Start the nodes, and wait for what is asked."""
    # On the machine's own address: Ray takes it in place of 127.0.0.1 wherever it is told to connect.
    node: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        second = cluster.add_node(num_cpus=1)
        print(cluster.address, flush=True)
        if sys.stdin.readline():
            cluster.remove_node(second, allow_graceful=False)
            print("lost", flush=True)
            sys.stdin.readline()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
