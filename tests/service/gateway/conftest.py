"""A real nginx before a real service, before one that shows what it is sent, and before none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address
from scripts.torchserve.server import Ports, TorchServe
from tests.gateways import Start, gateways
from tests.service.gateway.asking import JSON


def assert_refused(answer: requests.Response, status: int, kind: str) -> None:
    """Check an error of the gateway's own: JSON, in the service's layout."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, JSON)
    body = answer.json()
    assert (body["code"], body["type"]) == (status, kind)
    assert list(body) == ["code", "type", "message"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.fixture(scope="package")
def start(server: TorchServe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    with gateways(server, tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="package")
def gateway(start: Start) -> Gateway:
    return start()


@pytest.fixture(scope="package")
def nobody(start: Start) -> Gateway:
    """A gateway before a service that isn't there."""
    return start(Address("127.0.0.1", Ports.free().inference))


class Echo(BaseHTTPRequestHandler):
    """A service that answers with the headers that it got, or with 503 where the body says so."""

    def do_POST(self) -> None:  # the name that http.server calls
        full = b"full" in self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(dict(self.headers)).encode()
        self.send_response(503 if full else 200)
        if full:
            self.send_header("Retry-After", "7")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Write nothing."""


@pytest.fixture(scope="package")
def echo(start: Start) -> Iterator[Gateway]:
    """A gateway before a service that shows what it is sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield start(Address("127.0.0.1", service.server_port))
        service.shutdown()
