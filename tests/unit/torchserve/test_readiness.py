"""What `/ready` answers for each state of the workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from scripts.torchserve import readiness as module
from scripts.torchserve.management import Management
from scripts.torchserve.ports import Ports
from scripts.torchserve.readiness import Readiness
from tests.unit.torchserve.stand_in import StandIn, stand_in


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in() as server:
        yield server


@pytest.fixture
def readiness(server: StandIn) -> Iterator[Readiness]:
    with Readiness(Management(server.url), 0) as readiness:
        yield readiness


def ask(readiness: Readiness, path: str = "/ready") -> tuple[int, str | None]:
    response = requests.get(readiness.url.removesuffix("/ready") + path, timeout=5)
    return response.status_code, response.json()["reason"]


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        (["READY"], None),
        (["READY", "UNLOADING"], None),
        (["LOADING"], "version 1.0 has no ready worker (of 1 wanted: LOADING)"),
        ([], "version 1.0 has no ready worker (of 1 wanted: none)"),
    ],
    ids=["ready", "one of two ended", "loading", "none"],
)
def test_the_states_of_the_default_version_decide(
    server: StandIn, readiness: Readiness, states: list[str], reason: str | None
) -> None:
    server.workers = {"1.0": states, "2.0": ["READY"]}
    assert ask(readiness) == (503 if reason else 200, reason)


def test_no_version_and_no_server_are_reported(server: StandIn, readiness: Readiness) -> None:
    server.override = lambda *_: (404, {"message": "Model not found"})
    assert ask(readiness) == (503, "no version of nli is registered")
    gone = Readiness(Management(f"http://127.0.0.1:{Ports.free().management}"), 0)
    assert "nothing can be managed" in str(gone.fault())


def test_a_server_that_hangs_is_not_ready(
    server: StandIn, readiness: Readiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.1)
    server.delay = 0.5
    assert ask(readiness) == (503, "GET /models/nli got no answer within 0 s")


def test_no_worker_is_asked_and_frequent_probes_ask_once(
    server: StandIn, readiness: Readiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_SECONDS", 1000)
    assert [ask(readiness)[0] for _ in range(5)] == [200] * 5
    assert [path for _, path, _ in server.asked] == ["/models/nli"]
    monkeypatch.setattr(module, "KEEP_SECONDS", 0)
    ask(readiness)
    assert len(server.asked) == 2


def test_draining_is_announced_at_once(server: StandIn, readiness: Readiness) -> None:
    assert ask(readiness) == (200, None)
    readiness.announce_drain()
    assert ask(readiness) == (503, "draining")


@pytest.mark.parametrize(
    ("host", "asked"), [("0.0.0.0", "127.0.0.2"), ("[::1]", "[::1]")], ids=["every interface", "IPv6"]
)
def test_it_listens_where_it_is_told(server: StandIn, host: str, asked: str) -> None:
    with Readiness(Management(server.url), 0, host) as readiness:
        port = readiness.url.rpartition(":")[2]
        assert requests.get(f"http://{asked}:{port}", timeout=5).status_code == 200


def test_other_paths_are_unknown(readiness: Readiness) -> None:
    assert ask(readiness, "/healthz") == (404, "ask for /ready")


def test_stopping_twice_does_no_harm(readiness: Readiness) -> None:
    readiness.stop()
    readiness.stop()
