"""Ray on this machine or elsewhere, with authentication and without usage statistics."""

from __future__ import annotations

import importlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from handler.errors import ConfigurationError, ServiceError, one_line

PORT = 6379
"""Ray's usual port, where an address states none."""


class ClusterError(ServiceError):
    """Ray can't be reached, or its processes keep being lost."""


def set_ray_environment(own: bool) -> None:
    """Set the environment variables by which Ray asks for a token and sends no usage statistics.

    Ray reads them when it is imported, and hands them on to the processes that it starts. By itself it asks
    for a token in local clusters alone, and writes that to the home folder.

    Args:
        own: whether the cluster is of this process, and needs a token that nobody else has.
    """
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if own:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray's module, connected to a cluster, or to one on this machine that ends with the block.

    Args:
        address: `HOST`, `HOST:PORT`, or `auto` on a machine of the cluster; None for this machine alone.

    Raises:
        ConfigurationError: Ray isn't installed.
        ClusterError: the cluster can't be reached.
    """
    set_ray_environment(own=address is None)
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise ConfigurationError("Ray isn't installed; scripts/setup bulk installs it") from None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        # On loopback, as everything of this project.
        options |= {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    else:
        named = address == "auto" or ":" in address
        options |= {"address": address if named else f"{address}:{PORT}"}
    try:
        ray.init(**options)
    except Exception as error:  # each way of being unreachable has a class of its own
        ray.shutdown()
        raise ClusterError(f"no Ray cluster at {address or 'this machine'}: {one_line(error)}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def call_on_all(ray: Any, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The results of a function for several arguments, in order, each called somewhere in the cluster.

    Raises:
        ServiceError: what a call raised.
        ClusterError: processes were lost again and again.
    """
    remote = ray.remote(function)
    return [result(ray, reference) for reference in [remote.remote(*arguments) for arguments in calls]]


def result(ray: Any, reference: Any) -> Any:
    """The result of a call.

    Raises:
        ServiceError: what the call raised.
        LostError: its process, or that process' machine, is gone.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise (
            cause
            if isinstance(cause, ServiceError)
            else ClusterError(f"a call in the cluster failed: {type(cause).__name__}")
        ) from None
    except ray.exceptions.RayError as error:
        raise LostError(f"a process of the cluster was lost: {type(error).__name__}") from None


class LostError(ClusterError):
    """A process, or its machine, is gone; others go on."""
