"""Gateways that tests start before a service."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings
from scripts.torchserve.server import Ports, TorchServe
from tests.programs import need

Start = Callable[..., Gateway]


@contextlib.contextmanager
def gateways(server: TorchServe, folders: pytest.TempPathFactory) -> Iterator[Start]:
    """Start gateways before `server`, or before another address, on ports of their own; all end with this."""
    need("nginx")
    with contextlib.ExitStack() as running:

        def start(service: Address | None = None, **options: Any) -> Gateway:
            settings = GatewaySettings(
                service=service or Address("127.0.0.1", server.ports.inference),
                listen=Address("127.0.0.1", Ports.free().inference),
                **options,
            )
            return running.enter_context(Gateway(folders.mktemp("gateway") / "gateway.log", settings))

        yield start
