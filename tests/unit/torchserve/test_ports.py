"""The ports of a server, and the two that may listen elsewhere."""

from __future__ import annotations

import socket

import pytest

from handler.errors import ConfigurationError
from scripts.torchserve.gateway_settings import Address
from scripts.torchserve.ports import Ports


def test_six_ports_follow_and_two_may_have_addresses_of_their_own() -> None:
    ports = Ports.following(9000, readiness=Address("0.0.0.0", 80), metrics=Address("10.0.0.7", 81))
    assert list(map(str, ports.addresses())) == [
        "127.0.0.1:9000",
        "127.0.0.1:9001",
        "10.0.0.7:81",
        "127.0.0.1:9003",
        "127.0.0.1:9004",
        "0.0.0.0:80",
    ]
    assert str(ports.local_readiness) == "127.0.0.1:80"
    assert str(Ports().local_readiness) == "127.0.0.1:8085"


@pytest.mark.parametrize("first", [0, 65531])
def test_ports_that_do_not_exist_are_refused(first: int) -> None:
    with pytest.raises(ConfigurationError, match="from 1 to 65530"):
        Ports.following(first)


def test_an_address_that_torchserve_cannot_read_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="IPv6"):
        Ports.following(9000, metrics=Address("[::]", 9002))


def test_a_taken_port_is_named() -> None:
    ports = Ports.free()
    ports.refuse_taken()
    message = f"127.0.0.1:{ports.metrics} can't be used"
    taken = socket.create_server(("127.0.0.1", ports.metrics))
    with taken, pytest.raises(ConfigurationError, match=message):
        ports.refuse_taken()
