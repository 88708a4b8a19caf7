"""Draining: each worker of each version has answered before the server may stop."""

from __future__ import annotations

from scripts.torchserve.draining import drain
from scripts.torchserve.ports import Ports
from tests.unit.torchserve.stand_in import stand_in


def test_every_worker_of_every_version_is_waited_for() -> None:
    said: list[str] = []
    with stand_in(workers={"1.0": ["READY"], "2.0": ["READY", "READY"]}) as server:
        assert drain(server.url, said.append, seconds=5)
        asked = [path.split("?")[0] for _, path, _ in server.asked if "customized" in path]
    assert said == []
    assert asked.count("/models/nli/1.0") == 1
    assert asked.count("/models/nli/2.0") >= 2


def test_the_limit_holds_and_the_reason_is_said() -> None:
    said: list[str] = []
    with stand_in(workers={"1.0": ["LOADING"]}, queued=2) as server:
        assert not drain(server.url, said.append, seconds=0.3)
    assert said == [
        "stopping before all requests are answered: version 1.0: no worker is ready for its queue"
    ]


def test_a_server_that_is_gone_has_nothing_to_answer() -> None:
    said: list[str] = []
    assert not drain(f"http://127.0.0.1:{Ports.free().management}", said.append)
    assert "nothing can be managed" in said[0]
