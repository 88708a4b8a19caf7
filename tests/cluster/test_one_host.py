"""One host asked from other machines: readiness, whatever the service does, and limits of each client."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests
from requests.adapters import HTTPAdapter

from scripts.torchserve.processes import workers_among
from tests.cluster.conftest import NO_LIMIT, Versions
from tests.cluster.hosts import Balancer, Host
from tests.cluster.network import BRIDGE, NETWORK, Machine
from tests.probes import Probes
from tests.processes import new_process, suspended

PAIR = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
CLIENTS = 40
GREED = 30
"""Connections of a client that sends more than its share."""

DRAIN_DELAY = 3


@pytest.fixture
def host(
    request: pytest.FixtureRequest, network: list[Machine], versions: Versions, tmp_path: Path
) -> Iterator[Host]:
    """A host with the limits that a gateway has by itself, or with the options that a test states."""
    made = Host(network[3], tmp_path / "host", f"--drain-delay={DRAIN_DELAY}", *getattr(request, "param", ()))
    made.begin(versions.archives["1.0"])
    yield made
    made.kill()


def workers_of(host: Host) -> list[int]:
    pids = host.machine.pids()
    return workers_among(each for each in psutil.process_iter() if each.pid in pids)


@pytest.mark.parametrize("host", [NO_LIMIT], indirect=True, ids=["no limit"])
def test_readiness_from_another_machine_is_true_to_the_service(host: Host, versions: Versions) -> None:
    with Probes(host.readiness, f"{host.gateway}/ready", seconds=240) as probes:
        probes.wait_for(200)
        assert (503, 503) in [each.statuses for each in probes.seen]  # while the model was loaded

        (worker,) = workers_of(host)
        with versions.clients(host.gateway, 24) as load:
            load.wait_for(500)
            with suspended(worker):
                probes.wait_for(200, count=5)  # during a batch that doesn't end

        os.kill(worker, signal.SIGKILL)
        with suspended(new_process(lambda: workers_of(host), [worker])):
            probes.wait_for(503)
        probes.wait_for(200)

        stopped = time.monotonic()
        host.terminate()
        probes.wait_for(0)
    probes.assert_drained(stopped, DRAIN_DELAY)


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
