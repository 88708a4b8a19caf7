"""A fault at every step of a rollout: before the promotion all is as it was, after it nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from handler.errors import ServiceError
from scripts import PROJECT
from scripts.torchserve import waiting
from scripts.torchserve.acceptance import Gate
from scripts.torchserve.management import Management
from scripts.torchserve.operations import Operations
from scripts.torchserve.promotions import Promotion, Promotions
from scripts.torchserve.server import Ports, TorchServe
from tests.load import PAIR, Clients
from tests.processes import new_process, suspended
from tests.service.faults import Between, Kind, between

BEFORE = Promotion("0.9", "1.0")


@pytest.fixture(scope="module")
def started(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    with TorchServe(tmp_path_factory.mktemp("ts"), [store / "nli-1.0.mar"], Ports.free()) as server:
        yield server


@pytest.fixture(scope="module")
def management_between(started: TorchServe) -> Iterator[Between]:
    with between(started.management_url) as state:
        yield state


@pytest.fixture(scope="module")
def inference_between(started: TorchServe) -> Iterator[Between]:
    with between(started.url) as state:
        yield state


class Rollout:
    """Operations through servers that may fail, on a server that has version 1.0 alone."""

    def __init__(self, server: TorchServe, management: Between, inference: Between, folder: Path) -> None:
        self.server, self.management, self.inference = server, management, inference
        self.said: list[str] = []
        self.memory = folder / "promotions.json"
        managed = Management(management.url)
        self.promotions = Promotions(self.memory, managed)
        self.promotions.remember(BEFORE)
        self.operations = Operations(managed, inference.url, self.said.append, self.memory, 120)
        management.fail("", "", "refused")
        inference.fail("", "", "refused")

    def registered(self) -> dict[str, bool]:
        """By version, whether it is the default."""
        return {each.version: each.is_default for each in Management(self.server.management_url).versions()}


@pytest.fixture
def rollout(
    started: TorchServe, management_between: Between, inference_between: Between, tmp_path: Path
) -> Rollout:
    direct = Operations(
        Management(started.management_url), started.url, lambda _: None, tmp_path / "reset.json"
    )
    direct.register(Path("nli-1.0.mar"), workers=1)
    direct.promote("1.0")
    direct.retire("2.0")
    return Rollout(started, management_between, inference_between, tmp_path)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", "/models?", "refused"),
        ("POST", "/models?", "lost"),
        ("POST", "/models?", "interrupted"),
        ("GET", "customized", "refused"),
        ("POST", "/predictions/", "refused"),
        ("POST", "/predictions/", "interrupted"),
        ("PUT", "set-default", "refused"),
        ("PUT", "set-default", "lost"),
        ("PUT", "set-default", "interrupted"),
    ],
)
def test_a_fault_before_the_promotion_changes_nothing(
    rollout: Rollout, store: Path, method: str, path: str, kind: Kind
) -> None:
    faulty = rollout.inference if path == "/predictions/" else rollout.management
    faulty.fail(method, path, kind)
    with pytest.raises(KeyboardInterrupt if kind == "interrupted" else ServiceError):
        rollout.operations.rollout(store / "nli-2.0.mar")
    assert faulty.failed
    assert rollout.registered() == {"1.0": True}
    assert rollout.promotions.last() == BEFORE
    assert not any("is the default instead" in line for line in rollout.said)
    assert (rollout.said[-1:] == ["removed version 2.0 again"]) == ((path, kind) != ("/models?", "refused"))


def test_an_evaluation_that_is_interrupted_changes_nothing(
    rollout: Rollout, store: Path, tmp_path: Path
) -> None:
    data = tmp_path / "labelled.jsonl"
    data.write_text(json.dumps(PAIR | {"label": "entailment"}) + "\n", encoding="utf-8")
    rollout.inference.fail("POST", "/predictions/", "interrupted")
    with pytest.raises(KeyboardInterrupt):
        rollout.operations.rollout(store / "nli-2.0.mar", gate=Gate(data))
    assert rollout.registered() == {"1.0": True}
    assert rollout.said[-1] == "removed version 2.0 again"


def test_a_promotion_that_cannot_be_remembered_is_not_made(
    rollout: Rollout, store: Path, tmp_path: Path
) -> None:
    rollout.memory.with_suffix(".new").mkdir()  # as good as a full disk
    with pytest.raises(ServiceError, match="can't be remembered"):
        rollout.operations.rollout(store / "nli-2.0.mar")
    assert rollout.registered() == {"1.0": True}
    assert rollout.promotions.last() == BEFORE
    assert "removed version 2.0 again" in rollout.said


@pytest.mark.parametrize("kind", ["refused", "lost", "interrupted"])
def test_a_fault_after_the_promotion_keeps_it(rollout: Rollout, store: Path, kind: Kind) -> None:
    rollout.management.fail("DELETE", "/models/nli/1.0", kind)
    if kind == "interrupted":
        with pytest.raises(KeyboardInterrupt):
            rollout.operations.rollout(store / "nli-2.0.mar")
    else:
        rollout.operations.rollout(store / "nli-2.0.mar")
    assert rollout.management.failed
    assert rollout.registered()["2.0"]
    assert rollout.promotions.last() == Promotion("1.0", "2.0")
    assert rollout.said[-1] == "to remove it: python scripts/manage.py retire 1.0"
    rollout.operations.retire("1.0")  # as was said
    assert rollout.registered() == {"2.0": True}


def test_an_old_version_in_use_stays_beside_the_new_one(
    rollout: Rollout, started: TorchServe, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "QUIET_SECONDS", 4)  # a pause of the clients isn't their end
    rollout.operations.register(store / "nli-2.0.mar")
    hasty = Operations(
        Management(started.management_url), started.url, rollout.said.append, rollout.memory, seconds=6
    )
    with Clients(f"{started.url}/predictions/nli/1.0", count=2) as clients:
        clients.wait_for(2)
        hasty.rollout(store / "nli-2.0.mar")
    assert rollout.registered() == {"1.0": False, "2.0": True}
    assert "version 1.0 stays registered: version 1.0 is busy even after 6 s" in "\n".join(rollout.said)
    assert {each.outcome for each in clients.answered} == {"200"}
    answer = requests.post(f"{started.url}/predictions/nli", json=PAIR, timeout=30)
    assert answer.json()["model"]["version"] == "2.0"


@pytest.mark.parametrize("kind", ["lost", "interrupted"])
def test_a_rollback_that_fails_changes_nothing(rollout: Rollout, store: Path, kind: Kind) -> None:
    rollout.operations.register(store / "nli-2.0.mar")
    rollout.operations.promote("2.0")
    rollout.management.fail("PUT", "set-default", kind)
    with pytest.raises(KeyboardInterrupt if kind == "interrupted" else ServiceError):
        rollout.operations.rollback()
    assert rollout.registered() == {"1.0": False, "2.0": True}
    rollout.operations.rollback()
    assert rollout.registered() == {"1.0": True, "2.0": False}


def test_sigterm_undoes_as_ctrl_c_does(rollout: Rollout, started: TorchServe, store: Path) -> None:
    workers = started.worker_pids()
    with manage(started, "rollout", store / "nli-2.0.mar") as process:
        with suspended(new_process(started.worker_pids, workers)):  # it loads until the signal has come
            assert "2.0" in rollout.registered()
            process.terminate()
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said == "removed version 2.0 again\n"
    assert rollout.registered() == {"1.0": True}


def test_a_reader_that_has_gone_stops_nothing(rollout: Rollout, started: TorchServe, store: Path) -> None:
    with manage(started, "rollout", store / "nli-2.0.mar") as process:
        assert process.stdout
        process.stdout.close()
        assert process.wait(timeout=120) == 0
    assert rollout.registered() == {"2.0": True}


def manage(server: TorchServe, *arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROJECT / "scripts" / "manage.py"), "--url", server.management_url]
    command += ["--inference-url", server.url, "--folder", str(server.folder)]
    return subprocess.Popen(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
