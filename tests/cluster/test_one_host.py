"""One host asked from other machines: readiness, whatever the service does, and limits of each client."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.cluster.conftest import NO_LIMIT, Versions
from tests.cluster.hosts import Balancer, Host, ask_ready
from tests.cluster.network import BRIDGE, NETWORK, Machine

PAIR = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
CLIENTS = 40
GREED = 30
"""Connections of a client that sends more than its share."""


@pytest.fixture
def host(
    request: pytest.FixtureRequest, network: list[Machine], versions: Versions, tmp_path: Path
) -> Iterator[Host]:
    """A host with the limits that a gateway has by itself, or with the options that a test states."""
    made = Host(network[3], tmp_path / "host", "--drain-delay=3", *getattr(request, "param", ()))
    made.begin(versions.archives["1.0"])
    yield made
    made.kill()


class Probes:
    """Asks both readiness addresses from another machine, ten times a second."""

    def __init__(self, host: Host) -> None:
        self._urls = (host.readiness, f"{host.gateway}/ready")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.seen: list[tuple[float, int, int]] = []
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join(20)

    def since(self, moment: float, until: float = float("inf")) -> set[tuple[int, int]]:
        return {(own, door) for when, own, door in list(self.seen) if moment <= when < until}

    def wait_for(self, statuses: tuple[int, int], seconds: float) -> float:
        """Wait until both addresses answer so, and say when."""
        began = time.monotonic()
        while statuses not in self.since(began):
            assert time.monotonic() - began < seconds, f"{self.since(began)} in {seconds} s, never {statuses}"
            time.sleep(0.05)
        return time.monotonic()

    def _ask(self) -> None:
        while not self._done.wait(0.1):
            when = time.monotonic()
            own, door = map(ask_ready, self._urls)
            self.seen.append((when, own, door))


def worker_of(host: Host) -> int:
    (found,) = [
        pid
        for pid in host.machine.pids()
        if "model_service_worker" in " ".join(psutil.Process(pid).cmdline())
    ]
    return found


@pytest.mark.parametrize("host", [NO_LIMIT], indirect=True, ids=["no limit"])
def test_readiness_from_another_machine_is_true_to_the_service(host: Host, versions: Versions) -> None:
    probes = Probes(host)
    try:
        ready = probes.wait_for((200, 200), 240)
        assert (503, 503) in probes.since(0, ready)  # while the model was loaded

        with versions.clients(host.gateway, 24) as load:
            load.wait_for(500)
            began = time.monotonic()
            load.wait_for(500)
            busy = (began, time.monotonic())
        assert probes.since(*busy) == {(200, 200)}

        os.kill(worker_of(host), signal.SIGKILL)
        probes.wait_for((503, 503), 10)
        probes.wait_for((200, 200), 120)  # TorchServe has started another one

        stopped = time.monotonic()
        host.terminate()
        probes.wait_for((503, 503), 5)
        time.sleep(max(0.0, stopped + 2.5 - time.monotonic()))
        assert probes.since(stopped + 1, stopped + 2.5) == {(503, 503)}  # the drain delay
        probes.wait_for((0, 0), 120)
    finally:
        probes.stop()


def ask(url: str, source: str, count: int) -> Counter[int]:
    """Statuses of so many requests of a client with an address of its own."""

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: object, **options: object) -> None:
            super().init_poolmanager(*arguments, source_address=(source, 0), **options)  # type: ignore[arg-type]

    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", Adapter())
        return Counter(session.post(f"{url}/api", json=PAIR, timeout=60).status_code for _ in range(count))


def test_clients_behind_one_balancer_get_no_refusal_meant_for_another(host: Host, tmp_path: Path) -> None:
    host.wait_until_ready()
    addresses = [f"{NETWORK}.{100 + number}" for number in range(CLIENTS + 1)]
    for address in addresses:
        subprocess.run(["ip", "addr", "add", f"{address}/24", "dev", BRIDGE], check=True)
    *modest, greedy = addresses
    with (
        Balancer(tmp_path / "balancer", [host], 8102) as balancer,
        ThreadPoolExecutor(CLIENTS + GREED) as clients,
    ):
        refused = [clients.submit(ask, balancer.url, greedy, 4) for _ in range(GREED)]
        answered = list(clients.map(lambda address: ask(balancer.url, address, 8), modest))
    assert answered == [Counter({200: 8})] * CLIENTS
    assert sum(each.result()[429] for each in refused) > 0
