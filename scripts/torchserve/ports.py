"""The ports of one server."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass, replace
from typing import Self

from handler.errors import ConfigurationError
from scripts.torchserve.gateway_settings import Address

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one server, on loopback but for the two that monitors ask from elsewhere."""

    inference: int = 8080
    management: int = 8081
    metrics: int = 8082
    grpc_inference: int = 8083
    grpc_management: int = 8084
    readiness: int = 8085
    """Port of `scripts/serve` itself, which answers load balancers there."""
    metrics_host: str = LOOPBACK
    """Address of the metrics, where Prometheus runs elsewhere; it may be 0.0.0.0, as the next one may."""
    readiness_host: str = LOOPBACK

    @classmethod
    def following(cls, first: int, metrics: Address | None = None, readiness: Address | None = None) -> Self:
        """Six ports in a row from `first`, but for those with an address of their own.

        Raises:
            ConfigurationError: the ports end beyond 65535, or TorchServe can't listen on an address.
        """
        ports = cls(*range(first, first + 6))
        if not 1 <= first <= 65530:
            raise ConfigurationError(f"the first of six ports is from 1 to 65530, not {first}")
        if metrics and metrics.host.startswith("["):
            raise ConfigurationError(f"{metrics}: TorchServe can't listen on an IPv6 address")
        if metrics:
            ports = replace(ports, metrics=metrics.port, metrics_host=metrics.host)
        if readiness:
            ports = replace(ports, readiness=readiness.port, readiness_host=readiness.host)
        return ports

    @classmethod
    def free(cls) -> Self:
        """Six ports that nobody listens on at the moment."""
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(6)]
            return cls(*(each.getsockname()[1] for each in sockets))

    def addresses(self) -> list[Address]:
        """All six, in the order of the fields."""
        return [
            Address(LOOPBACK, self.inference),
            Address(LOOPBACK, self.management),
            Address(self.metrics_host, self.metrics),
            Address(LOOPBACK, self.grpc_inference),
            Address(LOOPBACK, self.grpc_management),
            Address(self.readiness_host, self.readiness),
        ]

    @property
    def local_readiness(self) -> Address:
        """The address by which this machine asks for readiness."""
        wildcard = {"0.0.0.0": LOOPBACK, "[::]": "[::1]"}
        return Address(wildcard.get(self.readiness_host, self.readiness_host), self.readiness)

    def refuse_taken(self) -> None:
        """Check that all can be bound.

        Raises:
            ConfigurationError: a port is taken; the message says which.
        """
        for address in self.addresses():
            address.refuse_taken()
