"""Clients that never finish what they send: others are served beside them, and none keeps its connection."""

from __future__ import annotations

import resource
import selectors
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest
import requests

from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings
from scripts.torchserve.server import Ports, TorchServe
from tests.programs import need

PAIR = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
HEADER = b"POST /api HTTP/1.1\r\nHost: x\r\nX-Slow: "
BODY = b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{"


class SlowClients:
    """Connections from one address that send a byte a second; each one that is closed is opened again."""

    def __init__(self, gateway: Gateway, count: int, begin: bytes, source: str = "127.0.0.2") -> None:
        self._target = (gateway.settings.listen.host, gateway.settings.listen.port)
        self._count = count
        self._begin = begin
        self._source = source
        self._opened: dict[socket.socket, float] = {}
        self._selector = selectors.DefaultSelector()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep_open)
        self.lifetimes: list[float] = []
        """Seconds for which each of the closed connections was open."""
        self.said: list[bytes] = []
        """What was answered on them."""

    def __enter__(self) -> Self:
        for _ in range(self._count):
            self._open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        for each in self._opened:
            each.close()
        self._selector.close()

    def _open(self) -> None:
        connection = socket.socket()
        connection.bind((self._source, 0))
        connection.settimeout(60)
        connection.connect(self._target)
        connection.sendall(self._begin)
        self._selector.register(connection, selectors.EVENT_READ)
        self._opened[connection] = time.monotonic()

    def _keep_open(self) -> None:
        dripped = time.monotonic()
        while not self._done.is_set():
            for key, _ in self._selector.select(0.1):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                self._selector.unregister(connection)
                self.lifetimes.append(time.monotonic() - self._opened.pop(connection))
                try:
                    self.said.append(connection.recv(1000))
                except OSError:
                    self.said.append(b"")
                connection.close()
                self._open()
            if time.monotonic() - dripped > 1:
                dripped = time.monotonic()
                for connection in self._opened:
                    try:
                        connection.send(b"x")
                    except OSError:
                        continue  # the selector says so too


@pytest.fixture
def gateway(server: TorchServe, tmp_path: Path) -> Iterator[Gateway]:
    need("nginx")
    settings = GatewaySettings(
        service=Address("127.0.0.1", server.ports.inference),
        listen=Address("127.0.0.1", Ports.free().inference),
    )
    with Gateway(tmp_path / "gateway.log", settings) as running:
        yield running


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 8192:
        pytest.skip(f"2,100 connections at both ends need 8,192 open files (ulimit -Hn is {hard})")
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192 if soft < 8192 else soft, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def serve_others(gateway: Gateway, done: Callable[[], bool]) -> list[float]:
    """At least 20 requests of other people, each on a connection of its own; returns how long each took."""
    took: list[float] = []
    end = time.monotonic() + 120
    while len(took) < 20 or not done():
        began = time.monotonic()
        assert began < end
        person = {"X-Forwarded-For": f"10.0.1.{len(took) % 250}"}
        answer = requests.post(f"{gateway.url}/api", json=PAIR, headers=person, timeout=30)
        assert answer.status_code == 200
        took.append(time.monotonic() - began)
        time.sleep(0.05)
    return took


@pytest.mark.usefixtures("many_files")
def test_others_are_served_beside_2100_connections_whose_header_never_ends(gateway: Gateway) -> None:
    alone = serve_others(gateway, lambda: True)
    with SlowClients(gateway, 2_100, HEADER) as slow:
        beside = serve_others(gateway, lambda: len(slow.lifetimes) > 2_000)
    print(
        f"median {statistics.median(alone):.3f} s alone (longest {max(alone):.3f} s), "
        f"{statistics.median(beside):.3f} s beside them (longest {max(beside):.3f} s, {len(beside)} requests)"
    )
    assert statistics.median(beside) < 2
    # Given up after 5 s, although a byte came each second.
    assert statistics.median(slow.lifetimes) < 8


def test_connections_whose_body_never_ends_are_few_for_each_address(gateway: Gateway) -> None:
    with SlowClients(gateway, 60, BODY) as slow:
        assert statistics.median(serve_others(gateway, lambda: bool(slow.said))) < 2
    assert {answer.split(b" ")[1] for answer in slow.said} == {b"429"}
    assert len(slow._opened) == 60
