"""HTTP clients as they are: whatever they mean is read, or one line says what to do instead."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from scripts.torchserve.server import TorchServe
from tests.service.test_answers import GOOD

RAW = json.dumps(GOOD, ensure_ascii=False).encode()
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ARITHMETIC = {"premise": "1+1=2 & 50% = 100%/2; 값", "hypothesis": "a=b&c=d"}


@pytest.fixture(scope="module")
def expected(url: str) -> dict[str, Any]:
    answer: dict[str, Any] = requests.post(url, json=GOOD, timeout=60).json()
    return answer


def send(address: str, body: Any, path: str = "/predictions/nli", **headers: str) -> requests.Response:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(address + path, data=body, headers=headers, timeout=60)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (RAW, JSON),
        (RAW, {"Content-Type": "APPLICATION/JSON;CHARSET=UTF-8"}),
        (RAW, {"Content-Type": "application/vnd.api+json"}),
        (RAW, {"Content-Type": "text/plain"}),
        (RAW, {"Content-Type": "application/octet-stream"}),
        (RAW, {}),
        (b"\xef\xbb\xbf" + RAW, JSON),
        (json.dumps(GOOD).encode("utf-16"), JSON),
        (gzip.compress(RAW), JSON | {"Content-Encoding": "gzip"}),
        (gzip.compress(b"\xef\xbb\xbf" + RAW), {"content-encoding": "GZIP"}),
        (zlib.compress(RAW), JSON | {"Content-Encoding": "deflate"}),
        (RAW, JSON | {"Content-Encoding": "identity"}),
        (GOOD, {}),
        (GOOD, {"Content-Type": "APPLICATION/X-WWW-FORM-URLENCODED"}),
        (GOOD, {"Content-Type": "application/x-www-form-urlencoded ; charset=utf-8"}),
    ],
    ids=str,
)
def test_a_body_is_read_as_it_is_meant(
    address: str, body: Any, headers: dict[str, str], expected: dict[str, Any]
) -> None:
    assert send(address, body, **headers).json() == expected


def test_a_form_in_another_charset(address: str, expected: dict[str, Any]) -> None:
    body = "&".join(
        f"{name}=" + "".join(f"%{byte:02x}" for byte in text.encode("euc-kr")) for name, text in GOOD.items()
    )
    headers = {"Content-Type": f"{FORM['Content-Type']}; charset=euc-kr"}
    assert send(address, body, **headers).json() == expected


@pytest.mark.parametrize("part", ["body", "data"])
def test_json_as_a_part_of_a_form(address: str, part: str, expected: dict[str, Any]) -> None:
    files = {part: ("pair.json", RAW, "application/json")}
    assert requests.post(f"{address}/predictions/nli", files=files, timeout=60).json() == expected


def test_a_chunked_body(address: str, expected: dict[str, Any]) -> None:
    assert send(address, iter([RAW[:9], RAW[9:]]), **JSON).json() == expected


@pytest.mark.parametrize(("version", "expect"), [("1.0", []), ("1.1", []), ("1.1", ["Expect: 100-continue"])])
def test_old_and_careful_clients(
    address: str, version: str, expect: list[str], expected: dict[str, Any]
) -> None:
    head = [f"POST /predictions/nli HTTP/{version}", "Host: x", f"Content-Length: {len(RAW)}", *expect]
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=30) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        if expect:
            assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(RAW)
        with http.client.HTTPResponse(connection) as answer:
            answer.begin()
            assert json.load(answer) == expected


def test_a_client_that_wants_only_the_head_gets_no_body(url: str) -> None:
    answer = requests.head(url, data=RAW, headers=JSON, timeout=60)
    assert (answer.status_code, answer.content) == (200, b"")


def test_other_methods_and_a_trailing_slash_make_no_difference(url: str, expected: dict[str, Any]) -> None:
    assert requests.put(url, data=RAW, timeout=60).json() == expected
    assert requests.post(f"{url}/", data=RAW, timeout=60).json() == expected


@pytest.mark.parametrize("body", [GOOD, ARITHMETIC], ids=["plain text", "text that a form would decode"])
@pytest.mark.parametrize("path", ["/api", "/predictions/nli"])
def test_json_sent_as_a_form_is_answered_by_the_gateway(
    gateway_address: str, url: str, path: str, body: dict[str, str]
) -> None:
    sent = json.dumps(body, ensure_ascii=False).encode()
    answer = send(gateway_address, sent, path, **FORM)
    expected = requests.post(url, json=body, timeout=60).json()
    assert answer.json() == (dict(list(expected.items())[:9]) if path == "/api" else expected)


def test_json_sent_as_a_form_is_told_what_to_do_by_torchserve(url: str) -> None:
    for body in (RAW, b'{"premise": "a=b", "hypothesis": "c&d"}'):
        answer = requests.post(url, data=body, headers=FORM, timeout=60)
        assert (answer.status_code, answer.json()["type"]) == (400, "invalid_request")
        assert "send JSON with -H 'Content-Type: application/json'" in answer.json()["message"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (RAW, {"Content-Encoding": "br"}, 415, "send it as gzip, deflate or plain"),
        (RAW, {"Content-Encoding": "gzip"}, 400, "the body is not valid gzip"),
        (gzip.compress(RAW)[:-4], {"Content-Encoding": "gzip"}, 400, "not one whole gzip stream"),
        (gzip.compress(bytes(50_000_000)), {"Content-Encoding": "gzip"}, 413, "more than 4194304 bytes once"),
        (RAW, {"Content-Type": "application/json; charset=utf-7"}, 400, "allowed are utf-8"),
        (b'{"premise": "a", // b\n}', JSON, 400, "not JSON"),
        (b'{"instances": [["a", "b"]]}', JSON, 400, "must be an object with 'premise' and 'hypothesis'"),
        (b"", JSON, 400, "the body is empty; send JSON, or form fields"),
        (b"premise=a", FORM, 400, "hypothesis is missing"),
        (RAW, {"Inference-Header-Content-Length": "many"}, 400, "must be the number of bytes of JSON"),
        (RAW, {"Inference-Header-Content-Length": "0"}, 400, "the body is empty"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_told_what_to_do(
    address: str, body: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    answer = send(address, body, **headers)
    assert answer.status_code == status
    assert answer.json()["code"] == status
    assert message in answer.json()["message"]
    assert "\n" not in answer.json()["message"]


def test_a_query_is_not_read_and_the_answer_says_so(url: str) -> None:
    answer = requests.get(url, params=GOOD, timeout=60)
    assert answer.status_code == 400
    assert "a query is not read" in answer.json()["message"]


def test_a_form_that_torchserve_cannot_decode_leaves_no_text_in_a_log(url: str, server: TorchServe) -> None:
    answer = requests.post(url, data=b"premise=nemanaMARKER 100%zz&hypothesis=x", headers=FORM, timeout=60)
    assert answer.status_code == 500
    logs = [path for path in Path(server.logs).rglob("*") if path.is_file()]
    assert "HttpRequestHandler" in (server.logs / "server.log").read_text(encoding="utf-8")
    assert [path for path in logs if b"nemanaMARKER" in path.read_bytes()] == []
