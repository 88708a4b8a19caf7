"""What the gateway refuses, to whom, and how it says so."""

from __future__ import annotations

import json
import time

import pytest
import requests

from scripts.torchserve.gateway import Gateway
from tests.gateways import Start
from tests.service.gateway.asking import JSON, KEY, PAIR, Sent, client, get, post, post_at_once, raw
from tests.service.gateway.conftest import assert_refused

BODY = json.dumps(PAIR).encode()

PRIVATE = [
    "/models",
    "/models/nli",
    "/metrics",
    "/ping",
    "/api-description",
    "/predictions",
    "/predictions/",
    "/predictions/other",
    "/predictions/nli/",
    "/predictions/nli/1.0",
    "/predictions/nli/1.0/x",
    "/predictions/NLI",
    "/explanations",
    "/explanations/other",
    "/explanations/nli/1.0",
    "/workflows",
    "/wfpredict/x",
    "/api/",
    "/refused",
    "//models",
    "/%6dodels",
    "/api/../models",
    "/predictions/nli/../../models",
    "/predictions/nli%2F..%2F..%2Fmodels",
]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_everything_private_is_404(gateway: Gateway, nobody: Gateway, method: str) -> None:
    for target in PRIVATE:
        for each in (gateway, nobody):  # without a service too: so nobody was asked
            status, body, headers = raw(each, method, target)
            assert (status, headers["Content-Type"]) == (404, JSON), target
            assert json.loads(body)["type"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api", "POST"),
        ("PUT", "/predictions/nli", "POST"),
        ("OPTIONS", "/predictions/nli", "POST"),
        ("GET", "/explanations/nli", "POST"),
        ("POST", "/", "GET, HEAD"),
        ("DELETE", "/ready", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
    ],
)
def test_other_methods_are_405(gateway: Gateway, method: str, path: str, allowed: str) -> None:
    answer = requests.request(method, f"{gateway.url}{path}", headers=client(), timeout=30)
    assert_refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


def test_a_body_over_the_limit_is_413(gateway: Gateway) -> None:
    body = b"0" * 4_194_305
    answer = requests.post(f"{gateway.url}/api", data=body, headers=client(), timeout=30)
    assert_refused(answer, 413, "limit_exceeded")


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [("/%zz", {}, 400), ("/", {"X": "x" * 40_000}, 431), (f"/{'x' * 40_000}", {}, 414)],
    ids=["bad escape", "long header", "long address"],
)
def test_what_nginx_cant_read_is_json_too(
    gateway: Gateway, target: str, headers: dict[str, str], status: int
) -> None:
    got, body, sent = raw(gateway, "GET", target, **headers)
    assert (got, sent["Content-Type"]) == (status, JSON)
    assert json.loads(body) == {
        "code": status,
        "type": "invalid_request",
        "message": "the request can't be read",
    }


def test_a_client_that_asks_too_often_is_told_to_wait_and_others_are_not(gateway: Gateway) -> None:
    hasty = client()
    answers = post_at_once(gateway, [("/api", BODY, hasty)] * 30)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) <= 9  # one, and a burst of 20, are let through
    for answer in refused:
        assert_refused(answer, 429, "too_many_requests")
        assert answer.headers["Retry-After"] == "1"
    assert post(gateway, "/api").status_code == 200
    time.sleep(1.1)
    assert post(gateway, "/api", **hasty).status_code == 200


@pytest.mark.parametrize("kind", ["large", "chunked", "compressed"])
def test_large_bodies_are_counted_apart_and_leave_small_ones_their_rate(echo: Gateway, kind: str) -> None:
    person = client()
    body = b"0" * (1000 if kind == "large" else 10)
    large = [body] if kind == "chunked" else body
    hidden = {"Content-Encoding": "gzip"} if kind == "compressed" else {}
    answers = post_at_once(echo, [("/api", large, person | hidden)] * 9)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 2 <= len(refused) <= 3  # one, and a burst of five, are let through; another after a second
    for answer in refused:
        assert_refused(answer, 429, "too_many_requests")
    small = post_at_once(echo, [("/api", b"0" * 999, person)] * 9)
    assert {answer.status_code for answer in small} == {200}


def test_a_small_body_of_many_hypotheses_costs_no_more_than_its_rate_is_for(gateway: Gateway) -> None:
    small = {"premise": "가 나 " * 15, "hypotheses": ["다"] * 60}
    assert len(json.dumps(small)) < 1000
    refused = post(gateway, "/predictions/nli", small)
    assert (refused.status_code, refused.json()["type"]) == (413, "limit_exceeded")
    assert "at most 1024 are allowed for a body of its size" in refused.json()["message"]
    labels = {
        "premise": "비가 온다.",
        "hypotheses": [f"이 글은 {each}에 관한 글이다." for each in "가나다라"],
    }
    assert len(post(gateway, "/predictions/nli", labels).json()) == 4
    large = small | {"hypotheses": ["다" * 10] * 60}
    assert len(post(gateway, "/predictions/nli", large).json()) == 60


def test_many_hypotheses_in_a_large_body_count_as_a_large_one(gateway: Gateway) -> None:
    person = client()
    body = {"premise": "비가 온다.", "hypotheses": [f"{number} 비가 온다." for number in range(64)]}
    answers = post_at_once(gateway, [("/predictions/nli", json.dumps(body).encode(), person)] * 9)
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(len(answer.json()) == 64 for answer in answers if answer.status_code == 200)
    assert post(gateway, "/api", **person).status_code == 200


def test_explanations_are_let_through_and_have_a_rate_of_their_own(gateway: Gateway) -> None:
    person = client()
    paths = ["/explanations/nli", "/v1/models/nli:explain"] * 4
    answers = post_at_once(gateway, [(path, BODY, person) for path in paths])
    explained = [answer.json() for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert all(body["explanation"]["premise"] for body in explained)
    assert 3 <= len(refused) <= 5  # one, and a burst of two, are let through; another after 0.7 s
    assert {answer.status_code for answer in refused} == {429}
    assert post(gateway, "/predictions/nli", **person).status_code == 200


def test_the_client_is_whom_a_trusted_proxy_names_and_nobody_else(start: Start) -> None:
    chain = "10.9.9.9, 10.1.1.1, 10.2.2.2"
    for trusted, named in [
        ((), "127.0.0.1"),
        (("127.0.0.1",), "10.2.2.2"),
        (("127.0.0.0/8", "10.2.0.0/16"), "10.1.1.1"),
        (("::1", "10.2.2.2"), "127.0.0.1"),
    ]:
        gateway = start(trusted_proxies=trusted)
        requests.get(f"{gateway.url}/nothing", headers={"X-Forwarded-For": chain}, timeout=30)
        gateway.stop()
        assert gateway.log
        assert json.loads(gateway.log.read_text())["client"] == named


def test_many_clients_behind_one_balancer_are_not_one(start: Start, echo: Gateway) -> None:
    sent: list[Sent] = [("/api", BODY, client()) for _ in range(40)]
    blind = start(echo.settings.service, trusted_proxies=())
    assert {answer.status_code for answer in post_at_once(echo, sent)} == {200}
    assert 429 in {answer.status_code for answer in post_at_once(blind, sent)}


def test_keys_where_they_are_wanted(start: Start) -> None:
    locked = start(keys=(KEY, "x" * 24))
    for path in ("/api", "/predictions/nli", "/explanations/nli"):
        for wrong in ("", f"Bearer {KEY}x", f"Bearer {KEY.upper()}", f"Basic {KEY}", KEY):
            answer = post(locked, path, Authorization=wrong)
            assert_refused(answer, 401, "key_required")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        for right in (KEY, "x" * 24):
            assert post(locked, path, Authorization=f"Bearer {right}").status_code == 200
    assert get(locked, "/").status_code == 200


def test_no_service_is_502(nobody: Gateway) -> None:
    for answer in (post(nobody, "/api"), post(nobody, "/predictions/nli"), get(nobody, "/")):
        assert_refused(answer, 502, "service_unavailable")
        assert answer.headers["Retry-After"] == "5"
