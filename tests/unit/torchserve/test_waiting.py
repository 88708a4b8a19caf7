"""Waiting for versions, against a server whose workers change."""

from __future__ import annotations

import threading
import time

import pytest

from scripts.torchserve import waiting
from scripts.torchserve.management import Management, OperationError
from scripts.torchserve.waiting import ask_all_workers, wait_until_quiet, wait_until_ready
from tests.unit.torchserve.stand_in import Answer, StandIn, stand_in


def later(server: StandIn, **changes: object) -> None:
    """Change the server's state in a moment."""
    threading.Timer(0.3, lambda: server.__dict__.update(changes)).start()


def test_a_version_is_ready_when_all_its_workers_have_answered() -> None:
    with stand_in(wanted=2, workers={"1.0": ["READY", "LOADING"]}) as server:
        began = time.monotonic()
        later(server, workers={"1.0": ["READY", "READY"]})
        assert wait_until_ready(Management(server.url), "1.0", 60) == ("a", "b")
        assert time.monotonic() - began > 0.2
        assert sum("customized" in path for _, path, _ in server.asked) >= 2


@pytest.mark.parametrize("states", [["LOADING"], []], ids=["loading", "none"])
def test_a_version_that_does_not_become_ready_is_reported(states: list[str]) -> None:
    with stand_in(workers={"1.0": states}) as server:
        message = f"1 workers are wanted, there are {', '.join(states) or 'none'}"
        with pytest.raises(OperationError, match=message):
            wait_until_ready(Management(server.url), "1.0", 0.3)


def test_a_full_queue_is_asked_again() -> None:
    refusals = [1, 2]

    def refuse(_method: str, path: str) -> Answer | None:
        return (
            (503, {"message": "no worker"}) if "customized" in path and refusals and refusals.pop() else None
        )

    with stand_in(override=refuse, taken={100: 7}) as server:
        assert ask_all_workers(Management(server.url), "1.0", time.monotonic() + 5)[0] == {100: 7}
    assert refusals == []


def test_a_queue_without_a_worker_is_not_finished() -> None:
    with stand_in(workers={"1.0": ["LOADING"]}, queued=1) as server:
        with pytest.raises(OperationError, match="no worker is ready"):
            ask_all_workers(Management(server.url), "1.0", time.monotonic() + 0.3)
        server.queued = 0
        assert ask_all_workers(Management(server.url), "1.0", time.monotonic() + 0.3)[0] == {}


def test_a_version_is_quiet_when_its_workers_take_nothing_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 0.5)
    with stand_in(taken={100: 1}) as server:
        began = time.monotonic()
        later(server, taken={100: 2})
        wait_until_quiet(Management(server.url), "1.0", 60)
        assert time.monotonic() - began > 0.7


def test_a_version_in_use_is_reported() -> None:
    message = r"1\.0 is busy even after 0 s"
    with stand_in(queued=3) as server, pytest.raises(OperationError, match=message):
        wait_until_quiet(Management(server.url), "1.0", 0.3)
