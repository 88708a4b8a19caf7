"""`scripts/serve` as a process: it comes back as it was, and it stops without losing a request."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from handler.errors import ConfigurationError
from scripts import PROJECT
from scripts.torchserve.draining import drain
from scripts.torchserve.management import Management
from scripts.torchserve.server import Ports, TorchServe
from scripts.torchserve.sizing import suitable_workers
from tests.programs import need
from tests.service.loading import LABEL_OF, Clients, write_biased_archive


class Service:
    """A `scripts/serve` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_row()
        self.process: subprocess.Popen[str] | None = None
        self.said = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.inference}/predictions/nli"

    def start(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-u", str(PROJECT / "scripts" / "serve.py"), *map(str, arguments)]
        command += ["--folder", str(self.folder), "--port", str(self.ports.inference)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.folder.parent
        )
        assert self.process.stdout
        self.said = ""
        while "Ctrl-C stops it." not in self.said:
            line = self.process.stdout.readline()
            assert line, f"ended before it was ready: {self.said}"
            self.said += line

    def manage(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PROJECT / "scripts" / "manage.py"), "--url"]
        command += [f"http://127.0.0.1:{self.ports.management}", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=600)

    def registered(self) -> dict[str, tuple[bool, int]]:
        versions = Management(f"http://127.0.0.1:{self.ports.management}").versions()
        return {each.version: (each.is_default, len(each.ready)) for each in versions}

    def processes(self) -> list[psutil.Process]:
        """Whatever runs because of this service: their command lines name its folder."""
        return [each for each in psutil.process_iter(["cmdline"]) if str(self.folder) in str(each.info)]

    def end(self) -> None:
        for each in self.processes():
            each.kill()
        if self.process:
            self.process.communicate()


def free_row() -> Ports:
    """Six ports in a row that are free."""
    while True:
        ports = Ports.following(random.randrange(20000, 30000, 6))
        try:
            ports.refuse_taken()
        except ConfigurationError:
            continue
        return ports


@pytest.fixture(scope="module")
def store(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, scratch = tmp_path_factory.mktemp("versions"), tmp_path_factory.mktemp("biased")
    for version in ("1.0", "2.0"):
        write_biased_archive(folder, scratch, pretrained, version)
    return folder


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("serve"))
    yield service
    service.end()


def test_versions_default_and_workers_survive_kills_and_restarts(service: Service, store: Path) -> None:
    service.start("--archive", store / "nli-1.0.mar")
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
    service.start("--archive", store / "nli-1.0.mar")  # the same as before, as a service manager would
    assert "bringing back the saved state" in service.said
    assert service.registered() == as_it_was
    assert (
        requests.post(service.url, json={"premise": "비", "hypothesis": "남자"}, timeout=30).json()["label"]
        == LABEL_OF["2.0"]
    )

    (java,) = [each for each in service.processes() if "org.pytorch.serve.ModelServer" in each.cmdline()]
    java.kill()
    service.process.communicate(timeout=60)
    assert service.process.returncode == 1  # it doesn't go on without a server
    service.start()  # no archive asked for: what was served last
    assert service.registered() == as_it_was

    service.process.send_signal(signal.SIGTERM)
    service.process.communicate(timeout=120)
    service.start("--archive", store / "nli-2.0.mar")  # another archive: a new start
    assert service.registered() == {"2.0": (True, workers)}


def test_sigterm_under_load_answers_what_it_has_and_leaves_nothing(service: Service, store: Path) -> None:
    # The delay gives a client thread the time to send what it has just noted as sent.
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


def stop_under_load(service: Service, url: str) -> None:
    """Stop it while clients ask at `url`: what was sent before is answered, and all is gone."""
    assert service.process
    with Clients(url) as clients:
        clients.wait_for(200)
        asked = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
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
    with server, Clients(f"{server.url}/predictions/nli") as clients:
        clients.wait_for(200)
        before = time.monotonic()
        time.sleep(0.5)  # a request is noted as sent before it is
        assert drain(server.management_url, said.append, seconds=20)
        server.stop()
    assert said == []
    assert {each.outcome for each in clients.answered if each.sent < before} == {"200"}
