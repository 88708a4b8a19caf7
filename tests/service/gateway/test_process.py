"""The gateway as a process: its start and stop, its log, and a service that is slow, away or coming back."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import requests

from scripts import gateway as gateway_verb
from scripts.command_line.arguments import run
from scripts.torchserve import gateway as gateways
from scripts.torchserve.gateway_settings import Address
from scripts.torchserve.management import Management
from scripts.torchserve.readiness import Readiness
from scripts.torchserve.server import Ports, TorchServe
from tests.gateways import Start
from tests.processes import suspended
from tests.programs import need
from tests.service.gateway.asking import KEY, client, get, post, raw
from tests.service.gateway.conftest import assert_refused


def test_ready_is_what_the_service_says_and_needs_no_key(server: TorchServe, start: Start) -> None:
    port = Ports.free().readiness
    with Readiness(Management(server.management_url), port) as readiness:
        gateway = start(readiness=Address("127.0.0.1", port), keys=(KEY,))
        for path in ("/ready", "/healthz"):
            assert get(gateway, path).status_code == 200
            assert requests.head(f"{gateway.url}{path}", headers=client(), timeout=30).status_code == 200
        readiness.announce_drain()
        assert_refused(get(gateway, "/ready"), 503, "service_unavailable")
    away = get(gateway, "/ready")
    assert_refused(away, 503, "service_unavailable")
    assert away.headers["Retry-After"] == "5"


def test_a_stopped_worker_is_504(server: TorchServe, start: Start) -> None:
    hasty = start(answer_seconds=1)
    with suspended(*server.worker_pids()):
        assert_refused(post(hasty, "/api"), 504, "service_timeout")
    end = time.monotonic() + 60
    while post(hasty, "/api").status_code != 200:
        assert time.monotonic() < end


def test_a_restart_behind_the_gateway_loses_no_request_without_saying_so(
    patient_archive: Path, start: Start, tmp_path: Path
) -> None:
    ports = Ports.free()
    gateway = start(Address("127.0.0.1", ports.inference))
    answers: list[tuple[float, requests.Response]] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            answers.append((time.monotonic(), post(gateway, "/api")))
            time.sleep(0.02)

    def statuses(after: float = 0) -> Counter[int]:
        return Counter(answer.status_code for sent, answer in list(answers) if sent > after)

    def wait_for(status: int, after: float = 0) -> None:
        end = time.monotonic() + 60
        while statuses(after)[status] < 20:
            assert time.monotonic() < end, statuses(after)
            time.sleep(0.02)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    with TorchServe(tmp_path / "ts", [patient_archive], ports):
        assert get(gateway, "/").status_code == 200
        for each in askers:
            each.start()
        wait_for(200)
    assert get(gateway, "/").status_code == 200  # the page stays while the service is away
    wait_for(502)
    with TorchServe(tmp_path / "ts", [patient_archive], ports):
        ready = time.monotonic()
        wait_for(200, ready)
        done.set()
        for each in askers:
            each.join(timeout=60)
            assert not each.is_alive()
    print(f"answers over a restart: {dict(statuses())}")
    assert statuses().keys() <= {200, 502, 503}
    assert statuses(ready).keys() == {200}
    refused = [answer for _, answer in answers if answer.status_code != 200]
    assert all(answer.json()["code"] == answer.status_code for answer in refused)


def run_as_nobody(output: int, *arguments: str) -> None:
    """Run `scripts/gateway.py` without a privilege, in a process that was forked for it."""
    os.dup2(output, 1)
    sys.stdout = os.fdopen(1, "w")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    sys.argv = ["gateway.py", *arguments]
    sys.exit(run(gateway_verb.main))


def test_it_needs_no_root_and_says_everything_on_standard_output_where_asked() -> None:
    need("nginx")
    listen = Address("127.0.0.1", Ports.free().inference)
    reading, writing = os.pipe()
    os.fchown(writing, 65534 if os.geteuid() == 0 else -1, -1)  # as a container's standard output
    process = multiprocessing.get_context("fork").Process(
        target=run_as_nobody, args=(writing, "--listen", str(listen), "--log", "-")
    )
    process.start()
    os.close(writing)
    try:
        with os.fdopen(reading) as output:
            while not (line := output.readline()).startswith("ready: "):
                assert line, "it ended"
            assert requests.get(f"http://{listen}/nothing", timeout=30).status_code == 404
            process.terminate()
            assert '"status": 404, "client": "127.0.0.1"' in output.read()
        process.join(30)
    finally:
        process.kill()
    assert process.exitcode == 0


def test_the_log_turns_over_and_old_ones_go(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways, "LOG_BYTES", 1000)
    gateway = start()
    for _ in range(40):
        assert get(gateway, "/nothing").status_code == 404
    gateway.stop()
    assert gateway.log
    logs = sorted(gateway.log.parent.glob("gateway.log*"))
    assert [each.name for each in logs] == ["gateway.log", *(f"gateway.log.{each}" for each in (1, 2, 3))]
    for each in logs:
        assert each.stat().st_size <= 1000
        assert all(json.loads(line)["status"] == 404 for line in each.read_text().splitlines())


def test_the_log_tells_what_went_wrong_and_not_what_was_said(start: Start) -> None:
    gateway = start()
    marker = "zebra-marker"
    body = {"premise": marker, "hypothesis": marker}
    assert post(gateway, f"/api?premise={marker}", body, **{"X-Request-Id": f"{marker}!"}).status_code == 200
    assert post(gateway, f"/api?premise={marker}", {"premise": marker}).status_code == 400
    assert get(gateway, f"/{marker}", Referer=marker, **{"User-Agent": marker}).status_code == 404
    assert raw(gateway, "GET", f"/%zz{marker}")[0] == 400
    gateway.stop()
    log = gateway.log
    assert log is not None
    content = log.read_text(encoding="utf-8")
    assert marker not in content
    lines = [json.loads(line) for line in content.splitlines()]
    assert [(line["endpoint"], line["status"]) for line in lines] == [
        ("/api", 400),
        ("other", 404),
        ("other", 400),
    ]
    assert [line["client"].startswith("10.") for line in lines] == [True, True, False]  # no headers were read
