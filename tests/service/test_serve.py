"""`scripts/serve` as a process: it comes back as it was, and it stops without losing a request."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from scripts import PROJECT
from scripts.torchserve.draining import drain
from scripts.torchserve.processes import workers_among
from scripts.torchserve.server import Ports, TorchServe
from scripts.torchserve.sizing import suitable_workers
from tests.load import PAIR, Clients
from tests.processes import new_process, suspended
from tests.programs import need
from tests.service.serving import Service
from tests.service.versions import LABEL_OF


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("serve"))
    yield service
    service.end()


def test_versions_default_and_workers_survive_kills_and_restarts(service: Service, store: Path) -> None:
    service.begin("--archive", store / "nli-1.0.mar")
    assert statuses_until_ready(service)[:1] == [503]
    assert requests.post(service.url, json=PAIR, timeout=30).status_code == 200  # as soon as it says ready
    service.wait_until_ready()
    assert service.manage("register", store / "nli-2.0.mar").returncode == 0
    assert service.manage("promote", "2.0").returncode == 0
    workers = suitable_workers(store / "nli-1.0.mar")
    assert service.manage("scale", "1.0", str(workers + 1)).returncode == 0
    as_it_was = {"1.0": (False, workers + 1), "2.0": (True, workers)}
    assert service.registered() == as_it_was

    second = [sys.executable, str(PROJECT / "scripts" / "serve.py"), "--folder", str(service.folder)]
    refused = subprocess.run(second, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 1
    assert f"a service runs in {service.folder} already" in refused.stderr

    assert service.process
    service.process.kill()  # Java stays behind; the next start has to deal with it
    service.process.communicate()
    precise = subprocess.run([*second, "--precision", "int8"], capture_output=True, text=True, timeout=120)
    assert precise.returncode == 2
    assert "--precision needs --checkpoint, or --fresh" in precise.stderr
    service.start("--archive", store / "nli-1.0.mar")  # the same as before, as a service manager would
    assert "bringing back the saved state" in service.said
    assert service.registered() == as_it_was
    assert (
        requests.post(service.url, json={"premise": "비", "hypothesis": "남자"}, timeout=30).json()["label"]
        == LABEL_OF["2.0"]
    )

    evidence = service.folder / "logs" / "previous-1"  # of the service that was killed
    assert " ready on cpu" in (evidence / "model.log").read_text(encoding="utf-8")

    (java,) = [each for each in service.processes() if "org.pytorch.serve.ModelServer" in each.cmdline()]
    java.kill()
    service.process.communicate(timeout=240)
    assert service.process.returncode == 1  # it doesn't go on without a server
    service.start()  # no archive asked for: what was served last
    assert service.registered() == as_it_was

    service.process.send_signal(signal.SIGTERM)
    service.process.communicate(timeout=120)
    service.start("--archive", store / "nli-2.0.mar")  # another archive: a new start
    assert service.registered() == {"2.0": (True, workers)}


def test_sigterm_under_load_answers_what_it_has_and_leaves_nothing(service: Service, store: Path) -> None:
    service.start("--archive", store / "nli-1.0.mar", "--workers", "2", "--drain-delay", "1")
    stop_under_load(service, service.url)


def test_sigterm_does_so_behind_the_gateway_too(service: Service, store: Path) -> None:
    need("nginx")
    port = Ports.free().readiness
    gateway = ["--gateway", "--gateway-port", str(port), "--drain-delay", "1"]
    service.start("--archive", store / "nli-1.0.mar", *gateway)
    assert service.process
    service.process.kill()  # nginx ends with it, and doesn't keep the port
    service.process.communicate()
    service.start("--archive", store / "nli-1.0.mar", *gateway)
    stop_under_load(service, f"http://127.0.0.1:{port}/predictions/nli")


def test_sigterm_between_the_first_ready_worker_and_the_last_drains(service: Service, store: Path) -> None:
    service.begin("--archive", store / "nli-1.0.mar", "--workers", "2", "--drain-delay", "2")
    assert service.process
    with suspended(new_process(lambda: workers_of(service))):  # it can't be ready before the signal
        statuses_until_ready(service)
        with suspended(*workers_of(service)):  # nor can the drain end
            asked = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            wait_until_draining(service)
    said, _ = service.process.communicate(timeout=200)
    assert service.process.returncode == 0
    assert time.monotonic() - asked > 2
    assert "ready:" not in said
    assert service.processes() == []


def workers_of(service: Service) -> list[int]:
    return workers_among(service.processes())


def statuses_until_ready(service: Service) -> list[int]:
    """What `/ready` answers one after another while the service starts."""
    statuses: list[int] = []
    deadline = time.monotonic() + 240
    while statuses[-1:] != [200]:
        assert time.monotonic() < deadline
        with contextlib.suppress(requests.ConnectionError):
            statuses.append(requests.get(service.readiness_url, timeout=60).status_code)
        time.sleep(0.1)
    return statuses


def wait_until_draining(service: Service) -> None:
    deadline = time.monotonic() + 60
    while (answer := requests.get(service.readiness_url, timeout=60)).json()["reason"] != "draining":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer.status_code == 503


def stop_under_load(service: Service, url: str) -> None:
    """Stop it while clients ask at `url`: what was sent before is answered, and all is gone."""
    assert service.process
    with Clients(url) as clients:
        clients.wait_for(200)
        assert requests.get(service.readiness_url, timeout=60).status_code == 200
        with suspended(*workers_of(service)):
            time.sleep(0.5)  # each client waits for its answer now
            asked = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            wait_until_draining(service)
            time.sleep(2)  # longer than the drain delay
        service.process.communicate(timeout=200)
        ended = time.monotonic()
    assert service.process.returncode == 0
    assert service.processes() == []
    assert {each.outcome for each in clients.answered} <= {"200", "ConnectionError"}
    sent_before = [each for each in clients.answered if each.sent < asked]
    assert {each.outcome for each in sent_before} == {"200"}
    assert any(each.received > asked for each in sent_before)  # some were under way
    print(f"{len(sent_before)} requests sent before were answered; gone in {ended - asked:.1f} s")


def test_requests_from_before_the_drain_are_answered_while_others_keep_coming(
    store: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, said = tmp_path_factory.mktemp("ts"), list[str]()
    server = TorchServe(folder, [store / "nli-1.0.mar"], Ports.free())
    with server, Clients(f"{server.url}/predictions/nli") as clients, ThreadPoolExecutor(1) as pool:
        clients.wait_for(200)
        with suspended(*server.worker_pids()):
            time.sleep(0.5)  # each client waits for its answer now
            before = time.monotonic()
            drained = pool.submit(drain, server.management_url, said.append)
            time.sleep(0.5)
            assert not drained.done()
        assert drained.result()
        server.stop()
    assert said == []
    assert {each.outcome for each in clients.answered if each.sent < before} == {"200"}
