"""Requests to a gateway, each from a client that nobody has seen before."""

from __future__ import annotations

import http.client
import itertools
from typing import Any

import requests

from scripts.torchserve.gateway import Gateway

PAIR = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
KEY = "0123456789abcdef0123456789abcdef"
JSON = "application/json; charset=utf-8"

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
