"""One gateway before several services: what one of them can't take, another one answers."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings
from tests.programs import need
from tests.service.serving import free_row

TEXT = "비가 온다."


class Service:
    """Two ports as a service has them; it answers with its own name, or as it is told to fail."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fault: str = ""
        """`busy` answers 503 with Retry-After, `dying` closes a connection in the middle of a request, `slow`
        answers once `released`."""
        self.released = threading.Event()
        self.ready = True
        self.bodies: list[bytes] = []
        ports = free_row()
        self.address = Address("127.0.0.1", ports.inference)
        self._servers = [self._serve(port) for port in (ports.inference, ports.readiness)]

    def _serve(self, port: int) -> ThreadingHTTPServer:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer(200 if service.ready else 503)

            def do_POST(self) -> None:
                service.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                if service.fault in ("dying", "away"):  # away, for connections that are there already
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if service.fault == "slow":
                    service.released.wait(20)
                self.answer(503 if service.fault == "busy" else 200)

            def answer(self, status: int) -> None:
                body = json.dumps({"name": service.name}).encode()
                self.send_response(status)
                self.send_header("Retry-After", "7")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Write nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        return server

    def stop(self) -> None:
        for each in self._servers:
            each.shutdown()
            each.server_close()
        self._servers = []


@pytest.fixture
def services() -> Iterator[list[Service]]:
    made = [Service(name) for name in "abc"]
    yield made
    for each in made:
        each.stop()


@pytest.fixture
def gateway(services: list[Service], tmp_path: Path) -> Iterator[Gateway]:
    need("nginx")
    first, *others = [each.address for each in services]
    listen = Address("127.0.0.1", free_row().inference)
    settings = GatewaySettings(service=first, others=tuple(others), listen=listen, rate=10_000)
    with Gateway(tmp_path / "gateway.log", settings) as running:
        yield running


def ask(gateway: Gateway) -> requests.Response:
    return requests.post(
        f"{gateway.url}/predictions/nli", json={"premise": TEXT, "hypothesis": TEXT}, timeout=60
    )


def names(gateway: Gateway, count: int = 60) -> Counter[str]:
    """Who answered so many requests, of eight clients, all of which must be answered."""
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: ask(gateway), range(count)))
    assert {each.status_code for each in answers} == {200}
    return Counter(each.json()["name"] for each in answers)


def test_all_services_answer(gateway: Gateway) -> None:
    assert set(names(gateway)) == set("abc")


@pytest.mark.parametrize("fault", ["busy", "dying", "away"])
def test_what_one_or_two_services_cant_take_the_last_answers(
    gateway: Gateway, services: list[Service], fault: str
) -> None:
    for gone, left in ((services[0], "bc"), (services[1], "c")):
        gone.fault = fault
        if fault == "away":
            gone.stop()
        assert set(names(gateway)) == set(left)
    assert {json.loads(body)["premise"] for each in services for body in each.bodies} == {TEXT}  # sent whole


def test_where_all_are_busy_each_client_hears_when_to_come_back(
    gateway: Gateway, services: list[Service]
) -> None:
    for each in services:
        each.fault = "busy"
    for _ in range(20):  # also after all of them have refused before
        answer = ask(gateway)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    assert sum(len(each.bodies) for each in services) == 60
    services[2].fault = ""
    assert set(names(gateway)) == {"c"}


def test_ready_if_any_service_is_ready(gateway: Gateway, services: list[Service]) -> None:
    def status() -> int:
        return requests.get(f"{gateway.url}/ready", timeout=30).status_code

    services[0].ready = False
    services[1].stop()
    assert {status() for _ in range(6)} == {200}
    services[2].ready = False
    assert {status() for _ in range(6)} == {503}


def test_probes_from_the_address_of_a_busy_client_are_answered(
    gateway: Gateway, services: list[Service]
) -> None:
    for each in services:
        each.fault = "slow"
    with ThreadPoolExecutor(32) as clients:
        try:
            answers = [clients.submit(ask, gateway) for _ in range(32)]
            began = time.monotonic()
            while sum(len(each.bodies) for each in services) < 32:
                assert time.monotonic() - began < 60, "the requests didn't arrive"
                time.sleep(0.05)
            assert ask(gateway).status_code == 429
            model = "models/nli"
            for path in (
                "ready",
                "healthz",
                "v2/health/live",
                "v2/health/ready",
                f"v1/{model}",
                f"v2/{model}/ready",
            ):
                assert (path, requests.get(f"{gateway.url}/{path}", timeout=30).status_code) == (path, 200)
        finally:
            for each in services:
                each.released.set()
    assert {each.result().status_code for each in answers} == {200}


def test_one_service_is_asked_once(services: list[Service], tmp_path: Path) -> None:
    need("nginx")
    alone = services[0]
    settings = GatewaySettings(service=alone.address, listen=Address("127.0.0.1", free_row().inference))
    with Gateway(tmp_path / "gateway.log", settings) as gateway:
        alone.fault = "busy"
        assert ask(gateway).status_code == 503
        assert len(alone.bodies) == 1
