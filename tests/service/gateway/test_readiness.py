"""The gateway's `/ready`: true to the service while it loads, works, drains, and without a worker."""

from __future__ import annotations

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings
from scripts.torchserve.server import Ports, TorchServe
from scripts.torchserve.service import serve
from tests.probes import Probes
from tests.processes import new_process, suspended
from tests.programs import need
from tests.service.gateway.asking import PAIR

DRAIN_DELAY = 3


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
    probes = Probes(f"{gateway.url}/ready")
    stopped: list[float] = []

    def ask(_: int) -> int:
        return requests.post(f"{gateway.url}/api", json=PAIR, timeout=60).status_code

    def use_it() -> None:
        probes.wait_for(200)
        (worker,) = server.worker_pids()
        with ThreadPoolExecutor(16) as clients, suspended(worker):
            answers = clients.map(ask, range(16))
            probes.wait_for(200, count=5)  # during a batch that doesn't end
        assert set(answers) == {200}
        os.kill(worker, signal.SIGKILL)
        with suspended(new_process(server.worker_pids, [worker])):
            probes.wait_for(503)
        probes.wait_for(200)
        stopped.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    with probes:
        serve(server, use_it, gateway, DRAIN_DELAY)
        probes.wait_for(0)
    assert probes.seen[0].statuses in ((0,), (503,))
    probes.assert_drained(stopped[0], DRAIN_DELAY)
    assert not server.is_running()
    for port in (settings.listen.port, server.ports.inference):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
