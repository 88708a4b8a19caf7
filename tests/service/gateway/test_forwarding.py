"""What the gateway lets through, and what service and client learn of each other."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import time

import requests

from scripts.torchserve.gateway import Gateway
from tests.gateways import Start
from tests.service.gateway.asking import JSON, PAIR, client, get, post


def test_the_root_is_the_page(gateway: Gateway, url: str) -> None:
    ours = get(gateway, "/")
    direct = requests.get(url, headers={"Accept": "text/html"}, timeout=30)
    assert ours.status_code == 200
    assert ours.content == direct.content
    for name in ("Content-Type", "Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options"):
        assert ours.headers[name] == direct.headers[name]
    head = requests.head(f"{gateway.url}/", headers=client(), timeout=30)
    assert (head.status_code, head.content) == (200, b"")


def test_api_is_the_tutorials_contract(gateway: Gateway) -> None:
    full = post(gateway, "/predictions/nli").json()
    answer = post(gateway, "/api")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, JSON)
    assert list(answer.json().items()) == list(full.items())[:9]


def test_the_full_api_takes_every_shape(gateway: Gateway, url: str) -> None:
    for body in (PAIR, [PAIR, PAIR], {"instances": [PAIR]}):
        direct = requests.post(url, json=body, timeout=30)
        assert post(gateway, "/predictions/nli", body).json() == direct.json()


def test_the_services_own_errors_pass_untouched(gateway: Gateway, url: str) -> None:
    for body in ({"premise": "비가 온다."}, [PAIR] * 65, "text"):
        direct = requests.post(url, json=body, timeout=30)
        through = post(gateway, "/predictions/nli", body)
        assert direct.status_code in (400, 413)
        assert (through.status_code, through.content) == (direct.status_code, direct.content)


def test_headers_that_steer_the_service_stay_outside(gateway: Gateway) -> None:
    plain = post(gateway, "/predictions/nli")
    steered = post(
        gateway, "/predictions/nli", describe="True", explain="True", url_path="x", **{"X-Answer": "tutorial"}
    )
    assert (steered.status_code, steered.content) == (200, plain.content)


def test_the_service_learns_when_a_request_came_from_the_gateway_alone(echo: Gateway) -> None:
    before = time.time()
    sent = post(echo, "/api", **{"X-Request-Start": "t=1.000", "Authorization": "Bearer x", "Cookie": "x=y"})
    assert sent.json().keys() == {
        "Host", "X-Answer", "X-Max-Tokens", "X-Request-Start", "Content-Type", "Content-Length",
    }  # fmt: skip
    arrived = re.fullmatch(r"t=(\d+\.\d{3})", sent.json()["X-Request-Start"])
    assert arrived
    assert before - 0.1 <= float(arrived[1]) <= time.time()


def test_when_to_try_again_is_the_services_to_say(echo: Gateway) -> None:
    connection = http.client.HTTPConnection(echo.settings.listen.host, echo.settings.listen.port, timeout=30)
    connection.request("POST", "/api", b"full", client())
    answer = connection.getresponse()
    assert (answer.status, answer.headers.get_all("Retry-After")) == (503, ["7"])
    connection.close()


def test_each_answer_names_its_request_as_the_services_log_does(gateway: Gateway) -> None:
    names = [post(gateway, "/api").headers["X-Request-Id"] for _ in range(2)]
    assert len(set(names)) == 2
    for name in names:
        assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name)  # TorchServe's own
    refused = get(gateway, "/nothing", **{"X-Request-Id": "said by a client"})
    assert re.fullmatch("[0-9a-f]{32}", refused.headers["X-Request-Id"])


def test_answers_are_compressed_for_who_can_read_it(gateway: Gateway) -> None:
    content = json.dumps([PAIR] * 8).encode()
    connection = http.client.HTTPConnection(
        gateway.settings.listen.host, gateway.settings.listen.port, timeout=30
    )
    headers = client(**{"Content-Type": "application/json", "Accept-Encoding": "gzip"})
    connection.request("POST", "/predictions/nli", content, headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.headers["Content-Encoding"] == "gzip"
    unpacked = gzip.decompress(body)
    assert len(json.loads(unpacked)) == 8
    assert len(body) < len(unpacked) / 2


def test_a_model_of_another_name_is_asked_at_its_own_address(echo: Gateway, start: Start) -> None:
    gateway = start(echo.settings.service, model="kcbert-2.0")
    assert post(gateway, "/predictions/kcbert-2.0").status_code == 200
    assert post(gateway, "/predictions/nli").status_code == 404
    assert post(gateway, "/predictions/kcbert-2x0").status_code == 404
