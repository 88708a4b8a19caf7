"""The gateway's `/ready`: true to the service while it loads, works, drains, and without a worker."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
import requests

from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings
from scripts.torchserve.server import Ports, TorchServe
from scripts.torchserve.service import serve
from tests.processes import new_process, suspended
from tests.programs import need
from tests.service.gateway.asking import PAIR

DRAIN_DELAY = 3


@dataclass(frozen=True, slots=True)
class Probe:
    asked: float
    answered: float
    status: int
    """0 where nobody listens."""


class Balancer:
    """Asks a gateway whether it is ready, five times a second."""

    def __init__(self, gateway: Gateway) -> None:
        self._url = f"{gateway.url}/ready"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.probes: list[Probe] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def wait_for(self, *statuses: int) -> None:
        """Wait until it is answered so from now on, so many times one after another."""
        began = time.monotonic()
        while [each.status for each in self.probes[-len(statuses) :] if each.asked > began] != [*statuses]:
            assert time.monotonic() - began < 120, f"{self.probes[-10:]}, never {statuses}"
            time.sleep(0.05)

    def _ask(self) -> None:
        while not self._done.wait(0.2):
            began = time.monotonic()
            try:
                status = requests.get(self._url, timeout=60).status_code
            except requests.ConnectionError:
                status = 0
            self.probes.append(Probe(began, time.monotonic(), status))


def test_ready_is_answered_beside_the_queue_and_503_while_the_service_takes_nothing(
    patient_archive: Path, tmp_path: Path
) -> None:
    need("nginx")
    server = TorchServe(tmp_path / "ts", [patient_archive], Ports.free())
    settings = GatewaySettings(
        service=Address("127.0.0.1", server.ports.inference),
        readiness=Address("127.0.0.1", server.ports.readiness),
        listen=Address("127.0.0.1", Ports.free().inference),
    )
    gateway = Gateway(tmp_path / "gateway.log", settings)
    balancer = Balancer(gateway)
    stopped: list[float] = []

    def ask(_: int) -> int:
        return requests.post(f"{gateway.url}/api", json=PAIR, timeout=60).status_code

    def use_it() -> None:
        balancer.wait_for(200)
        (worker,) = server.worker_pids()
        with ThreadPoolExecutor(16) as clients, suspended(worker):
            answers = clients.map(ask, range(16))
            balancer.wait_for(*5 * [200])  # during a batch that doesn't end
        assert set(answers) == {200}
        os.kill(worker, signal.SIGKILL)
        with suspended(new_process(server.worker_pids, [worker])):
            balancer.wait_for(503)
        balancer.wait_for(200)
        stopped.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    with balancer:
        serve(server, use_it, gateway, DRAIN_DELAY)
        balancer.wait_for(0)
    assert balancer.probes[0].status in (0, 503)
    after = [each for each in balancer.probes if each.asked > stopped[0]]
    statuses = [each.status for each in after]
    assert statuses == sorted(statuses, key=[200, 503, 0].index)
    assert statuses.count(503) > statuses.count(200)  # at most what was found before the signal
    assert after[statuses.index(0)].answered > stopped[0] + DRAIN_DELAY
    assert not server.is_running()
    for port in (settings.listen.port, server.ports.inference):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
