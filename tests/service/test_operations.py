"""Versions come and go on a real server under load, and no request notices.

`LOAD_REQUESTS=20000 scripts/test tests/service/test_operations.py` is the full size.
"""

from __future__ import annotations

import json
import os
import signal
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from handler.errors import ServiceError
from scripts.model.archive import build_archive
from scripts.model.conversion import convert_checkpoint
from scripts.torchserve import readiness, waiting
from scripts.torchserve.acceptance import Gate
from scripts.torchserve.management import Management, OperationError
from scripts.torchserve.operations import Operations
from scripts.torchserve.readiness import Readiness
from scripts.torchserve.server import Ports, TorchServe
from tests.load import PAIR, Clients, occupy
from tests.making import random_weights, write_lightning_checkpoint
from tests.processes import new_process, suspended
from tests.service.versions import LABEL_OF, LABELS, VERSIONS, TimedManagement, write_biased_archive

REQUESTS = int(os.environ.get("LOAD_REQUESTS", "1000"))


@pytest.fixture(scope="module")
def store(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions that can be told apart, one that can't be loaded, and one with fewer labels."""
    folder, scratch = tmp_path_factory.mktemp("versions"), tmp_path_factory.mktemp("biased")
    for version in VERSIONS:
        write_biased_archive(folder, scratch, pretrained, version)
    with (
        zipfile.ZipFile(folder / "nli-3.0.mar") as whole,
        zipfile.ZipFile(folder / "nli-7.0.mar", "w") as broken,
    ):
        for entry in whole.infolist():
            if entry.filename != "tokenizer.json":
                broken.writestr(entry, whole.read(entry).replace(b'"3.0"', b'"7.0"'))
    (folder / "nli-8.0.mar").write_bytes((folder / "nli-3.0.mar").read_bytes()[:5000])
    file = write_lightning_checkpoint(
        scratch / "two" / "epoch=1-val_loss=0.50.ckpt", random_weights(pretrained, labels=2)
    )
    two = convert_checkpoint(file, str(pretrained), scratch / "two-labels", LABELS[:2])
    build_archive(two, "9.0", folder / "nli-9.0.mar")
    return folder


@pytest.fixture(scope="module")
def started(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    with TorchServe(tmp_path_factory.mktemp("ts"), [store / "nli-1.0.mar"], Ports.free()) as server:
        yield server


@pytest.fixture
def server(started: TorchServe, tmp_path: Path) -> TorchServe:
    """The server with version 1.0 alone, whatever the test before has left."""
    operations = operate(started, tmp_path)
    operations.register(Path("nli-1.0.mar"), workers=1)
    operations.promote("1.0")
    for version in registered(started):
        if version != "1.0":
            operations.retire(version)
    return started


def operate(
    server: TorchServe,
    tmp_path: Path,
    management: Management | None = None,
    seconds: float = 300,
    said: list[str] | None = None,
) -> Operations:
    managed = management or Management(server.management_url)
    say = (said if said is not None else []).append
    return Operations(managed, server.url, say, tmp_path / "memory.json", seconds)


def registered(server: TorchServe) -> dict[str, tuple[bool, int]]:
    """By version: whether it is the default, and how many workers are ready."""
    versions = Management(server.management_url).versions()
    return {each.version: (each.is_default, len(each.ready)) for each in versions}


def labelled(tmp_path: Path, **counts: int) -> Path:
    rows = [PAIR | {"label": label} for label, count in counts.items() for _ in range(count)]
    file = tmp_path / "labelled.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_versions_roll_and_scale_under_load_and_no_request_fails(
    server: TorchServe, store: Path, tmp_path: Path
) -> None:
    timed = TimedManagement(server.management_url, "1.0")
    operations = operate(server, tmp_path, timed)
    url = f"{server.url}/predictions/nli"
    with Clients(url) as clients:
        clients.wait_for(REQUESTS // 10)
        operations.register(store / "nli-2.0.mar")
        operations.promote("2.0")
        operations.scale("1.0", 2)
        operations.scale("1.0", 1)
        operations.retire("1.0")
        clients.wait_for(REQUESTS // 3 - len(clients.answered))
        operations.register(store / "nli-3.0.mar")
        operations.promote("3.0")
        operations.scale("3.0", 2)
        clients.wait_for(REQUESTS * 2 // 3 - len(clients.answered))
        operations.rollback()
        operations.scale("3.0", 1)
        operations.retire("3.0")
        clients.wait_for(REQUESTS - len(clients.answered))
    assert clients.outcomes() == {"200": len(clients.answered)}
    assert all(each.label == LABEL_OF[each.version] for each in clients.answered)
    assert [each for each in clients.answered if not timed.was_default(each)] == []
    assert {each.version for each in clients.answered} == set(VERSIONS)
    assert registered(server) == {"2.0": (True, 1)}
    print(f"{len(clients.answered)} requests:", Counter(each.version for each in clients.answered))


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        pytest.param("nli-7.0.mar", "Failed to start workers", id="its-worker-cannot-start"),
        pytest.param("nli-8.0.mar", "is not a model archive", id="cut-short"),
        pytest.param("nli-9.0.mar", "but the default entailment, contradiction, neutral", id="fewer-labels"),
        pytest.param("nli-2.0.mar", "at most 0.4 is allowed", id="worse-than-the-default"),
        pytest.param("missing.mar", "Model not found at: missing.mar", id="not-in-the-store"),
    ],
)
def test_an_unfit_version_is_refused_and_nothing_else_changes(
    server: TorchServe, store: Path, tmp_path: Path, archive: str, reason: str
) -> None:
    gate = Gate(labelled(tmp_path, entailment=3, contradiction=1), max_drop=0.4) if "2.0" in archive else None
    with Clients(f"{server.url}/predictions/nli", count=2) as clients:
        with pytest.raises(ServiceError, match=reason):
            operate(server, tmp_path).rollout(store / archive, gate=gate)
        clients.wait_for(10)
    assert {(each.outcome, each.version) for each in clients.answered} == {("200", "1.0")}
    assert registered(server) == {"1.0": (True, 1)}


def test_a_version_that_passes_replaces_the_default(
    server: TorchServe, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):  # this machine is asked without a proxy
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    said: list[str] = []
    operations = operate(server, tmp_path, said=said)
    operations.register(store / "nli-2.0.mar")
    data = labelled(tmp_path, entailment=1, contradiction=3)
    with pytest.raises(OperationError, match=r"accuracy 0\.7500 is below 0\.8"):
        operations.rollout(store / "nli-2.0.mar", gate=Gate(data, min_accuracy=0.8))
    assert registered(server) == {"1.0": (True, 1), "2.0": (False, 1)}  # as it was
    operations.rollout(store / "nli-2.0.mar", gate=Gate(data, min_accuracy=0.75, max_drop=0.0))
    assert said[-4:] == [
        "nli-2.0.mar is registered already, as version 2.0; nothing changed",
        "accuracy on 4 pairs: 0.7500; the default has 0.2500",
        "version 2.0 is the default instead of 1.0",
        "retired version 1.0",
    ]
    assert registered(server) == {"2.0": (True, 1)}


def test_numbers_and_pairs_without_a_gold_label_are_said(
    server: TorchServe, store: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    rows = [PAIR | {"label": label} for label in (0, 1, 1, 1, -1)]
    data = tmp_path / "numbers.json"
    data.write_text(json.dumps(rows), encoding="utf-8")
    operate(server, tmp_path, said=said).rollout(store / "nli-2.0.mar", gate=Gate(data))
    assert "accuracy on 4 pairs (1 without a gold label skipped): 0.7500; the default has 0.2500" in said
    assert "labels are numbers, read as 0 entailment, 1 contradiction, 2 neutral" in said


def test_labels_are_checked_before_a_version_is_registered(
    server: TorchServe, store: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    data = labelled(tmp_path, entailment=1, maybe=1)
    with pytest.raises(ServiceError, match="row 2 has the label 'maybe'"):
        operate(server, tmp_path, said=said).rollout(store / "nli-2.0.mar", gate=Gate(data))
    assert said == []
    assert registered(server) == {"1.0": (True, 1)}


def test_every_command_is_safe_to_repeat(server: TorchServe, store: Path, tmp_path: Path) -> None:
    said: list[str] = []
    operations = operate(server, tmp_path, said=said)
    for _ in range(2):
        operations.register(store / "nli-2.0.mar")
        operations.promote("2.0")
        said.append("-")
    for _ in range(2):
        operations.rollback()
        operations.scale("1.0", 1)
        operations.retire("2.0")
        said.append("-")
    assert said == [
        "registered nli-2.0.mar as version 2.0 with 1 worker",
        "version 2.0 is the default instead of 1.0",
        "to go back: python scripts/manage.py rollback",
        "-",
        "nli-2.0.mar is registered already, as version 2.0; nothing changed",
        "version 2.0 is the default already; nothing changed",
        "-",
        "version 1.0 is the default again instead of 2.0",
        "version 1.0 has 1 worker already; nothing changed",
        "retired version 2.0",
        "-",
        "version 1.0 is the default again already; nothing changed",
        "version 1.0 has 1 worker already; nothing changed",
        "version 2.0 is not registered; nothing changed",
        "-",
    ]


def test_the_default_is_neither_removed_nor_scaled_down(
    server: TorchServe, store: Path, tmp_path: Path
) -> None:
    operations = operate(server, tmp_path)
    with pytest.raises(OperationError, match="is the default; promote another one first"):
        operations.retire("1.0")
    operations.scale("1.0", 2)
    with pytest.raises(OperationError, match="is the default: TorchServe would end"):
        operations.scale("1.0", 1)
    assert registered(server) == {"1.0": (True, 2)}
    operations.register(store / "nli-2.0.mar")  # with as many workers as the default has
    operations.promote("2.0")
    operations.scale("1.0", 1)
    assert registered(server) == {"1.0": (False, 1), "2.0": (True, 2)}


def test_pinned_versions_answer_side_by_side_and_one_in_use_is_not_removed(
    server: TorchServe, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operate(server, tmp_path).register(store / "nli-2.0.mar")
    address = f"{server.url}/predictions/nli"
    with Clients(f"{address}/1.0", 2) as first, Clients(f"{address}/2.0", 2) as second:
        with monkeypatch.context() as patch:
            patch.setattr(waiting, "QUIET_SECONDS", 4)  # a pause of the clients isn't their end
            with pytest.raises(OperationError, match=r"2\.0 is busy even after 5 s"):
                operate(server, tmp_path, seconds=5).retire("2.0")
        first.wait_for(20)
        second.wait_for(20)
    assert {(each.outcome, each.version) for each in first.answered} == {("200", "1.0")}
    assert {(each.outcome, each.version) for each in second.answered} == {("200", "2.0")}
    operate(server, tmp_path).retire("2.0")
    assert requests.post(f"{address}/2.0", json=PAIR, timeout=30).status_code == 404


def test_retiring_waits_for_a_batch_that_is_running(server: TorchServe, store: Path, tmp_path: Path) -> None:
    operations, management = operate(server, tmp_path), Management(server.management_url)
    operations.register(store / "nli-2.0.mar", workers=2)
    url = f"{server.url}/predictions/nli/2.0"
    with ThreadPoolExecutor() as clients:
        with suspended(*management.version("2.0").ready):
            answers = occupy(
                clients,
                lambda: requests.post(url, json=PAIR, timeout=120).status_code,
                lambda: management.version("2.0").queued,
            )
            retired = clients.submit(operations.retire, "2.0")
            time.sleep(waiting.QUIET_SECONDS + 0.5)
            assert not retired.done()
            assert "2.0" in registered(server)
        retired.result(timeout=120)
    assert {each.result() for each in answers} == {200}
    assert registered(server) == {"1.0": (True, 1)}


def test_a_service_is_ready_while_a_worker_is_there_busy_or_not(
    server: TorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "CHECK_SECONDS", 60)  # the machine may be slow, the service isn't away
    url = f"{server.url}/predictions/nli"

    def ask() -> tuple[int, str | None]:
        answer = requests.get(probed.url, timeout=100)
        assert answer.json()["ready"] == (answer.status_code == 200)
        return answer.status_code, answer.json()["reason"]

    def wait_for(status: int) -> str | None:
        deadline = time.monotonic() + 120
        while (found := ask())[0] != status:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return found[1]

    with Readiness(Management(server.management_url), 0) as probed:
        assert ask() == (200, None)
        (pid,) = server.worker_pids()
        with Clients(url, count=8) as clients, suspended(pid):  # what it is at takes for ever
            time.sleep(readiness.KEEP_SECONDS + 0.5)
            answered = len(clients.answered)
            assert ask() == (200, None)
            assert len(clients.answered) == answered
        os.kill(pid, signal.SIGKILL)
        with suspended(new_process(server.worker_pids, [pid])):
            assert "has no ready worker" in (wait_for(503) or "")
            assert requests.get(f"{server.url}/ping", timeout=30).json() == {"status": "Healthy"}  # it isn't
        wait_for(200)
        assert requests.post(url, json=PAIR, timeout=30).status_code == 200
        probed.announce_drain()
        assert ask() == (503, "draining")
