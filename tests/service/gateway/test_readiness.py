"""The gateway's `/ready`: true to the service while it loads, works, drains, and without a worker."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import requests

from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings
from scripts.torchserve.server import Ports, TorchServe
from scripts.torchserve.service import serve
from tests.programs import need
from tests.service.gateway.asking import PAIR


@dataclass(frozen=True, slots=True)
class Probe:
    asked: float
    status: int
    """0 where nobody listens."""
    seconds: float


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

    def wait_for(self, status: int, seconds: float) -> None:
        began = time.monotonic()
        while status not in self.statuses(began):
            assert time.monotonic() - began < seconds, f"no {status} within {seconds} s"
            time.sleep(0.05)

    def statuses(self, after: float, before: float = float("inf")) -> set[int]:
        return {each.status for each in list(self.probes) if after <= each.asked < before}

    def _ask(self) -> None:
        while not self._done.wait(0.2):
            began = time.monotonic()
            try:
                status = requests.get(self._url, timeout=10).status_code
            except requests.ConnectionError:
                status = 0
            self.probes.append(Probe(began, status, time.monotonic() - began))


def test_ready_is_answered_beside_the_queue_and_503_while_the_service_takes_nothing(
    tiny_archive: Path, tmp_path: Path
) -> None:
    need("nginx")
    server = TorchServe(tmp_path / "ts", [tiny_archive], Ports.free())
    settings = GatewaySettings(
        service=Address("127.0.0.1", server.ports.inference),
        readiness=Address("127.0.0.1", server.ports.readiness),
        listen=Address("127.0.0.1", Ports.free().inference),
    )
    gateway = Gateway(tmp_path / "gateway.log", settings)
    balancer = Balancer(gateway)
    moments: dict[str, float] = {}

    def ask(_: int) -> int:
        return requests.post(f"{gateway.url}/api", json=PAIR, timeout=60).status_code

    def use_it() -> None:
        balancer.wait_for(200, 5)
        (worker,) = server.worker_pids()
        os.kill(worker, signal.SIGSTOP)  # a batch that takes four seconds
        try:
            with ThreadPoolExecutor(16) as clients:
                moments["busy"] = time.monotonic()
                answers = clients.map(ask, range(16))
                time.sleep(4)
                moments["free"] = time.monotonic()
                os.kill(worker, signal.SIGCONT)
                assert set(answers) == {200}
        finally:
            os.kill(worker, signal.SIGCONT)
        os.kill(worker, signal.SIGKILL)
        balancer.wait_for(503, 5)
        balancer.wait_for(200, 60)  # TorchServe has started another one
        moments["stop"] = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)

    with balancer:
        serve(server, use_it, gateway, 3)
    assert balancer.statuses(moments["busy"], moments["free"]) == {200}
    assert balancer.statuses(moments["stop"] + 0.5, moments["stop"] + 2.5) == {503}  # the drain delay
    assert balancer.probes[0].status in (0, 503)
    longest = max(each.seconds for each in balancer.probes)
    print(f"{len(balancer.probes)} probes, the longest took {longest:.3f} s")
    assert longest < 1
