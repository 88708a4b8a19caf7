"""The ports of one server."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Self

from handler.errors import ConfigurationError

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
    readiness_host: str = LOOPBACK

    @classmethod
    def following(cls, first: int) -> Self:
        """Six ports in a row from `first`."""
        return cls(*range(first, first + 6))

    @classmethod
    def free(cls) -> Self:
        """Six ports that nobody listens on at the moment."""
        sockets = [socket.socket() for _ in range(6)]
        try:
            for each in sockets:
                each.bind((LOOPBACK, 0))
            return cls(*(each.getsockname()[1] for each in sockets))
        finally:
            for each in sockets:
                each.close()

    def numbers(self) -> list[int]:
        """All six, in the order of the fields."""
        return [number for _, number in self._addresses()]

    def refuse_taken(self) -> None:
        """Check that all can be bound.

        Raises:
            ConfigurationError: a port is taken; the message says which.
        """
        for host, port in self._addresses():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except (OSError, OverflowError) as error:
                    where = port if host == LOOPBACK else f"{port} on {host}"
                    raise ConfigurationError(f"port {where} can't be used: {error}") from None

    def _addresses(self) -> list[tuple[str, int]]:
        return [
            (LOOPBACK, self.inference),
            (LOOPBACK, self.management),
            (self.metrics_host, self.metrics),
            (LOOPBACK, self.grpc_inference),
            (LOOPBACK, self.grpc_management),
            (self.readiness_host, self.readiness),
        ]
