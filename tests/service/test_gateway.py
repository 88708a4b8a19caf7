"""A real nginx before a real service: what it lets through, what it refuses, and how it says so."""

from __future__ import annotations

import gzip
import http.client
import itertools
import json
import multiprocessing
import os
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts import gateway as gateway_verb
from scripts.command_line.arguments import run
from scripts.torchserve import gateway as gateways
from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings
from scripts.torchserve.management import Management
from scripts.torchserve.readiness import Readiness
from scripts.torchserve.server import Ports, TorchServe
from scripts.torchserve.service import serve
from tests.programs import need

PAIR = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
KEY = "0123456789abcdef0123456789abcdef"
JSON = "application/json; charset=utf-8"
Start = Callable[..., Gateway]

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


def assert_refused(answer: requests.Response, status: int, kind: str) -> None:
    """Check an error of the gateway's own: JSON, in the service's layout."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, JSON)
    body = answer.json()
    assert (body["code"], body["type"]) == (status, kind)
    assert list(body) == ["code", "type", "message"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.fixture(scope="module")
def start(server: TorchServe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a gateway on a port of its own; all are stopped at the end."""
    need("nginx")
    running: list[Gateway] = []

    def start(service: Address | None = None, **options: Any) -> Gateway:
        gateway = Gateway(
            tmp_path_factory.mktemp("gateway") / "gateway.log",
            GatewaySettings(
                service=service or Address("127.0.0.1", server.ports.inference),
                listen=Address("127.0.0.1", Ports.free().inference),
                **options,
            ),
        )
        running.append(gateway)
        gateway.start()
        return gateway

    yield start
    for each in running:
        each.stop()


@pytest.fixture(scope="module")
def gateway(start: Start) -> Gateway:
    return start()


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def echo(start: Start) -> Iterator[Gateway]:
    """A gateway before a service that shows what it is sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield start(Address("127.0.0.1", service.server_port))
        service.shutdown()


# --- what goes through -----------------------------------------------------------------------------


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


# --- what doesn't ----------------------------------------------------------------------------------

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

    def ask(_: int) -> requests.Response:
        return requests.post(f"{gateway.url}/api", json=PAIR, headers=hasty, timeout=60)

    with ThreadPoolExecutor(30) as clients:  # all at once, however slow the answers are
        answers = list(clients.map(ask, range(30)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) <= 9  # one, and a burst of 20, are let through
    for answer in refused:
        assert_refused(answer, 429, "too_many_requests")
        assert answer.headers["Retry-After"] == "1"
    assert post(gateway, "/api").status_code == 200
    time.sleep(1.1)
    assert ask(0).status_code == 200


@pytest.mark.parametrize("kind", ["large", "chunked", "compressed"])
def test_large_bodies_are_counted_apart_and_leave_small_ones_their_rate(echo: Gateway, kind: str) -> None:
    person = client()
    large = b"0" * (1000 if kind == "large" else 10)

    def ask(body: bytes, **headers: str) -> requests.Response:
        data = iter([body]) if kind == "chunked" and body is large else body
        return requests.post(f"{echo.url}/api", data=data, headers=person | headers, timeout=60)

    hidden = {"Content-Encoding": "gzip"} if kind == "compressed" else {}
    with ThreadPoolExecutor(9) as clients:
        answers = list(clients.map(lambda _: ask(large, **hidden), range(9)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 2 <= len(refused) <= 3  # one, and a burst of five, are let through; another after a second
    for answer in refused:
        assert_refused(answer, 429, "too_many_requests")
    assert {ask(b"0" * 999).status_code for _ in range(9)} == {200}


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

    def ask(_: int) -> requests.Response:
        return requests.post(f"{gateway.url}/predictions/nli", json=body, headers=person, timeout=60)

    with ThreadPoolExecutor(9) as clients:
        answers = list(clients.map(ask, range(9)))
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(len(answer.json()) == 64 for answer in answers if answer.status_code == 200)
    assert requests.post(f"{gateway.url}/api", json=PAIR, headers=person, timeout=60).status_code == 200


def test_explanations_are_let_through_and_have_a_rate_of_their_own(gateway: Gateway) -> None:
    person = client()

    def ask(path: str) -> requests.Response:
        return requests.post(f"{gateway.url}{path}", json=PAIR, headers=person, timeout=60)

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(ask, ["/explanations/nli", "/v1/models/nli:explain"] * 4))
    explained = [answer.json() for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert all(body["explanation"]["premise"] for body in explained)
    assert 3 <= len(refused) <= 5  # one, and a burst of two, are let through; another after 0.7 s
    assert {answer.status_code for answer in refused} == {429}
    assert ask("/predictions/nli").status_code == 200


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
    def ask(gateway: Gateway, number: int) -> int:
        headers = {"X-Forwarded-For": f"10.7.0.{number}"}
        return requests.post(f"{gateway.url}/api", json=PAIR, headers=headers, timeout=60).status_code

    blind = start(echo.settings.service, trusted_proxies=())
    with ThreadPoolExecutor(40) as clients:
        assert set(clients.map(partial(ask, echo), range(40))) == {200}
        assert 429 in set(clients.map(partial(ask, blind), range(40)))


def test_a_model_of_another_name_is_asked_at_its_own_address(echo: Gateway, start: Start) -> None:
    gateway = start(echo.settings.service, model="kcbert-2.0")
    assert post(gateway, "/predictions/kcbert-2.0").status_code == 200
    assert post(gateway, "/predictions/nli").status_code == 404
    assert post(gateway, "/predictions/kcbert-2x0").status_code == 404


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


def test_the_log_tells_what_went_wrong_and_not_what_was_said(start: Start) -> None:
    gateway = start()
    marker = "zebra-marker"
    body = {"premise": marker, "hypothesis": marker}
    assert post(gateway, f"/api?premise={marker}", body, **{"X-Request-Id": f"{marker}!"}).status_code == 200
    assert post(gateway, f"/api?premise={marker}", {"premise": marker}).status_code == 400
    assert get(gateway, f"/{marker}", Referer=marker, **{"User-Agent": marker}).status_code == 404
    assert raw(gateway, "GET", f"/%zz{marker}")[0] == 400
    gateway.stop()
    log = gateway.log
    assert log is not None
    content = log.read_text(encoding="utf-8")
    assert marker not in content
    lines = [json.loads(line) for line in content.splitlines()]
    assert [(line["endpoint"], line["status"]) for line in lines] == [
        ("/api", 400),
        ("other", 404),
        ("other", 400),
    ]
    assert [line["client"].startswith("10.") for line in lines] == [True, True, False]  # no headers were read


# --- a service that is slow, away or coming back ------------------------------------------------------


def test_ready_is_what_the_service_says_and_needs_no_key(server: TorchServe, start: Start) -> None:
    port = Ports.free().readiness
    with Readiness(Management(server.management_url), port) as readiness:
        gateway = start(readiness=Address("127.0.0.1", port), keys=(KEY,))
        for path in ("/ready", "/healthz"):
            assert get(gateway, path).status_code == 200
            assert requests.head(f"{gateway.url}{path}", headers=client(), timeout=30).status_code == 200
        readiness.announce_drain()
        assert_refused(get(gateway, "/ready"), 503, "service_unavailable")
    away = get(gateway, "/ready")
    assert_refused(away, 503, "service_unavailable")
    assert away.headers["Retry-After"] == "5"


def test_a_stopped_worker_is_504(server: TorchServe, start: Start) -> None:
    hasty = start(answer_seconds=1)
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    try:
        answer = post(hasty, "/api")
    finally:
        os.kill(worker, signal.SIGCONT)
    assert_refused(answer, 504, "service_timeout")
    assert post(hasty, "/api").status_code == 200


def test_no_service_is_502(nobody: Gateway) -> None:
    for answer in (post(nobody, "/api"), post(nobody, "/predictions/nli"), get(nobody, "/")):
        assert_refused(answer, 502, "service_unavailable")
        assert answer.headers["Retry-After"] == "5"


def test_a_restart_behind_the_gateway_loses_no_request_without_saying_so(
    tiny_archive: Path, start: Start, tmp_path: Path
) -> None:
    ports = Ports.free()
    gateway = start(Address("127.0.0.1", ports.inference))
    answers: list[requests.Response] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            answers.append(post(gateway, "/api"))
            time.sleep(0.02)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    with TorchServe(tmp_path / "ts", [tiny_archive], ports):
        assert get(gateway, "/").status_code == 200
        for each in askers:
            each.start()
        time.sleep(1)
    assert get(gateway, "/").status_code == 200  # the page stays while the service is away
    time.sleep(1)
    with TorchServe(tmp_path / "ts", [tiny_archive], ports):
        before = len(answers)
        time.sleep(1)
        done.set()
        for each in askers:
            each.join(timeout=60)
            assert not each.is_alive()
    statuses = Counter(answer.status_code for answer in answers)
    print(f"answers over a restart: {dict(statuses)}")
    assert statuses.keys() <= {200, 502, 503}
    assert statuses[200] > 0
    assert statuses[502] > 0
    assert all(answer.json()["code"] == answer.status_code for answer in answers if answer.status_code != 200)
    assert {answer.status_code for answer in answers[before + len(askers) :]} == {200}


def run_as_nobody(output: int, *arguments: str) -> None:
    """Run `scripts/gateway.py` without a privilege, in a process that was forked for it."""
    os.dup2(output, 1)
    sys.stdout = os.fdopen(1, "w")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    sys.argv = ["gateway.py", *arguments]
    sys.exit(run(gateway_verb.main))


def test_it_needs_no_root_and_says_everything_on_standard_output_where_asked() -> None:
    need("nginx")
    listen = Address("127.0.0.1", Ports.free().inference)
    reading, writing = os.pipe()
    os.fchown(writing, 65534 if os.geteuid() == 0 else -1, -1)  # as a container's standard output
    process = multiprocessing.get_context("fork").Process(
        target=run_as_nobody, args=(writing, "--listen", str(listen), "--log", "-")
    )
    process.start()
    os.close(writing)
    try:
        with os.fdopen(reading) as output:
            while not (line := output.readline()).startswith("ready: "):
                assert line, "it ended"
            assert requests.get(f"http://{listen}/nothing", timeout=30).status_code == 404
            process.terminate()
            assert '"status": 404, "client": "127.0.0.1"' in output.read()
        process.join(30)
    finally:
        process.kill()
    assert process.exitcode == 0


def test_the_log_turns_over_and_old_ones_go(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways, "LOG_BYTES", 1000)
    gateway = start()
    for _ in range(40):
        assert get(gateway, "/nothing").status_code == 404
    gateway.stop()
    assert gateway.log
    logs = sorted(gateway.log.parent.glob("gateway.log*"))
    assert [each.name for each in logs] == ["gateway.log", *(f"gateway.log.{each}" for each in (1, 2, 3))]
    for each in logs:
        assert each.stat().st_size <= 1000
        assert all(json.loads(line)["status"] == 404 for line in each.read_text().splitlines())


def test_serve_starts_and_stops_both(tiny_archive: Path, tmp_path: Path) -> None:
    need("nginx")
    server = TorchServe(tmp_path / "ts", [tiny_archive], Ports.free())
    gateway = Gateway(
        tmp_path / "gateway.log",
        GatewaySettings(
            service=Address("127.0.0.1", server.ports.inference),
            readiness=Address("127.0.0.1", server.ports.readiness),
            listen=Address("127.0.0.1", Ports.free().inference),
        ),
    )
    seen: list[int] = []

    def ask_and_stop() -> None:
        seen.append(get(gateway, "/ready").status_code)
        os.kill(os.getpid(), signal.SIGTERM)

    serve(server, ask_and_stop, gateway)
    assert seen == [200]
    assert not server.is_running()
    for port in (gateway.settings.listen.port, server.ports.inference):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
