"""Requests to a gateway, each from a client that nobody has seen before."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import requests

from scripts.torchserve.gateway import Gateway
from scripts.torchserve.processes import family_of
from tests.processes import suspended

PAIR = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
KEY = "0123456789abcdef0123456789abcdef"
JSON = "application/json; charset=utf-8"

Sent = tuple[str, bytes | Iterable[bytes], Mapping[str, str]]
"""Path, body and headers of a request."""

_clients = itertools.count(1)


def client(**headers: str) -> dict[str, str]:
    """Headers of a client that nobody has seen before, as a tunnel on this machine would name it."""
    number = next(_clients)
    return {"X-Forwarded-For": f"10.0.{number // 250}.{number % 250 + 1}"} | headers


def post(gateway: Gateway, path: str, body: Any = PAIR, **headers: str) -> requests.Response:
    return requests.post(f"{gateway.url}{path}", json=body, headers=client(**headers), timeout=60)


def get(gateway: Gateway, path: str, **headers: str) -> requests.Response:
    return requests.get(f"{gateway.url}{path}", headers=client(**headers), timeout=60)


def raw(gateway: Gateway, method: str, target: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    """A request whose target is sent as it is written here."""
    connection = http.client.HTTPConnection(
        gateway.settings.listen.host, gateway.settings.listen.port, timeout=30
    )
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in client(**headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


def post_at_once(gateway: Gateway, sent: Iterable[Sent]) -> list[requests.Response]:
    """Answers to requests that are all there when nginx reads the first of them."""
    assert gateway._nginx
    listen = gateway.settings.listen
    connections: list[http.client.HTTPConnection] = []
    answers: list[requests.Response] = []
    with suspended(*(each.pid for each in family_of(gateway._nginx.pid))):
        for path, body, headers in sent:
            connections.append(http.client.HTTPConnection(listen.host, listen.port, timeout=60))
            connections[-1].request("POST", path, body, headers)
    for connection in connections:
        got = connection.getresponse()
        answers.append(requests.Response())
        answers[-1].status_code = got.status
        answers[-1].headers.update(got.getheaders())
        answers[-1].raw = got
        assert answers[-1].content is not None  # read it
        connection.close()
    return answers
