"""The client against a small HTTP server: retries, refusals, keys, proxies."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts.pairs import client as module
from scripts.pairs.client import Client, ServiceRefusedError, ServiceUnreachableError
from scripts.pairs.session import is_loopback

PAIR = SentencePair("비가 온다.", "해가 뜬다.")
ANSWER = [{"label": "contradiction"}]


@dataclass
class Stub:
    """A server that answers what the test has prepared, and then 200; it also stands for a proxy."""

    answers: list[tuple[int, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    """Status, body and headers."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Target and key of each request, as they stood on the wire."""
    seconds: float = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def serve(stub: Stub) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            stub.requests.append((self.path, self.headers["Authorization"]))
            time.sleep(stub.seconds)
            status, body, headers = stub.answers.pop(0) if stub.answers else (200, None, {})
            content = json.dumps(ANSWER if body is None else body).encode()
            with contextlib.suppress(BrokenPipeError):  # a client that didn't wait
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(content))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    with serve(stub) as server:
        yield stub
        server.shutdown()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A proxy that the environment names for every address."""
    stub = Stub()
    with serve(stub) as server:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, stub.url)
        yield stub
        server.shutdown()


def test_a_model_or_one_version_is_addressed(stub: Stub) -> None:
    for arguments in ((stub.url,), (f"{stub.url}/", "nli/2.0"), (f"{stub.url}/predictions/other",)):
        with Client(*arguments) as client:
            assert client.classify([PAIR]) == ANSWER
    targets = [target for target, _ in stub.requests]
    assert targets == ["/predictions/nli", "/predictions/nli/2.0", "/predictions/other"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1"])
def test_this_machine_is_asked_without_a_proxy(stub: Stub, proxy: Stub, host: str) -> None:
    with Client(f"http://{host}:{stub.port}") as client:
        assert client.classify([PAIR]) == ANSWER
    assert (len(stub.requests), proxy.requests) == (1, [])


def test_other_hosts_are_asked_as_the_environment_says(proxy: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client("http://nli.example:8080") as client:
        assert client.classify([PAIR]) == ANSWER
    assert proxy.requests == [("http://nli.example:8080/predictions/nli", None)]
    monkeypatch.setenv("NO_PROXY", "nli.example")
    with Client("http://nli.example:8080") as client, pytest.raises(ServiceUnreachableError):
        client.classify([PAIR])
    assert len(proxy.requests) == 1


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("2130706433", True),
        ("0.0.0.0", True),
        ("128.0.0.1", False),
        ("::2", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_what_stands_for_this_machine(host: str, here: bool) -> None:
    assert is_loopback(host) is here


@pytest.mark.parametrize(
    ("token", "sent"), [("secret", "Bearer secret"), (" secret\n", "Bearer secret"), (None, None)]
)
def test_the_key_is_the_given_one_whatever_netrc_says(
    stub: Stub,
    proxy: Stub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    sent: str | None,
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login someone password other\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for url in (stub.url, "http://nli.example"):
        with Client(url, token=token) as client:
            client.classify([PAIR])
    assert [key for _, key in stub.requests + proxy.requests] == [sent, sent]


@pytest.mark.parametrize("token", ["열쇠", "a\nb"])
def test_a_key_that_no_header_can_hold_is_refused(token: str) -> None:
    with pytest.raises(ConfigurationError, match="the service's key"):
        Client(token=token)


def test_a_passing_refusal_is_sent_again_after_the_stated_time(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=waits.append))
    stub.answers = [(429, {}, {}), (503, {"type": "busy"}, {"Retry-After": "1"})]
    with Client(stub.url, retries=2) as client:
        assert client.classify([PAIR]) == ANSWER
    assert 0.1 <= waits[0] <= 0.2
    assert waits[1:] == [1]
    assert len(stub.requests) == 3


@pytest.mark.parametrize(
    ("status", "kind", "sent"),
    [(400, "invalid_pair", 1), (404, None, 1), (500, "inference_failed", 1), (500, None, 2), (503, "x", 2)],
)
def test_only_what_can_pass_is_sent_again(stub: Stub, status: int, kind: str | None, sent: int) -> None:
    stub.answers = [(status, {"message": "no", "type": kind}, {})] * 2
    with Client(stub.url, retries=1) as client, pytest.raises(ServiceRefusedError) as caught:
        client.classify([PAIR])
    assert (caught.value.status, caught.value.message, caught.value.kind) == (status, "no", kind)
    assert len(stub.requests) == sent


def test_a_redirect_is_not_followed(stub: Stub, proxy: Stub) -> None:
    stub.answers = [(308, {}, {"Location": "https://elsewhere.example/predictions/nli"})]
    with Client(stub.url) as client, pytest.raises(ServiceRefusedError, match=r"308.*elsewhere"):
        client.classify([PAIR])
    assert proxy.requests == []


def test_silence_and_nobody_are_told_apart(stub: Stub) -> None:
    stub.seconds = 0.3
    with Client(stub.url, timeout=0.05) as client, pytest.raises(ServiceUnreachableError, match=r"0\.05 s"):
        client.classify([PAIR])
    with Client("http://127.0.0.1:9") as client, pytest.raises(ServiceUnreachableError, match="no service"):
        client.classify([PAIR])


@pytest.mark.parametrize("url", ["nonsense", "http://[", "http://:x", "ftp://127.0.0.1"])
def test_an_address_that_is_none_is_refused_in_a_line(url: str) -> None:
    with pytest.raises((ServiceUnreachableError, ConfigurationError)) as caught, Client(url) as client:
        client.classify([PAIR])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
