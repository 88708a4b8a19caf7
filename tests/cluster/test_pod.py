"""The chart's containers, confined as in a pod: read-only root, no capability, PID 1, one network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from scripts import PROJECT
from scripts.torchserve.ports import Ports
from tests.cluster.conftest import Versions
from tests.cluster.network import Machine
from tests.probes import ask_ready
from tests.programs import need
from tests.unit.deploy.chart import manifest, render

PAIR = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
CONFINE = """
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /mnt
mkdir /mnt/run /mnt/tmp
mount --bind "$1" /mnt/run
mount --bind "$2" /mnt/tmp
mount -o remount,bind,ro /
mount --bind /mnt/tmp /tmp
! touch "$3" 2>/dev/null || exit 99
user=$4
shift 4
exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --inh-caps -all \\
    --bounding-set -all "$@"
"""
"""Arguments: what stands for the volume `run`, for /tmp, a path that must be read-only, user, command."""

USERS = {"service": "0", "gateway": "10001"}
"""Root without a capability stands for the service's user, who may be unable to run this Python."""


@contextmanager
def container(machine: Machine, name: str, run: Path, tmp: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A container of the default Deployment on a machine, its paths replaced by those here."""
    spec = manifest(render({}), "Deployment")["spec"]["template"]["spec"]
    (found,) = [each for each in [*spec["initContainers"], *spec["containers"]] if each["name"] == name]
    places = {"/srv/nli/model_store": "/mnt/run", "/srv/nli/.run": "/mnt/run/service"}
    arguments = found["args"]
    for path, ours in places.items():
        arguments = [each.replace(path, ours) for each in arguments]
    command = [sys.executable, *found["command"][1:], *arguments]
    confined = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", CONFINE, "sh"]
    confined += [str(run), str(tmp), str(PROJECT / "touched"), USERS[name], *command]
    with (run / f"{name}.said").open("wb") as said:
        os.fchmod(said.fileno(), 0o666)  # containers own their standard output
        process = subprocess.Popen(machine.inside(*confined), cwd=PROJECT, stdout=said, stderr=said)
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


def stop(process: subprocess.Popen[bytes]) -> int:
    """SIGTERM to PID 1 of a container, and its exit code."""
    (first,) = psutil.Process(process.pid).children()
    first.send_signal(signal.SIGTERM)
    return process.wait(240)


def wait_for(url: str, status: int, processes: list[subprocess.Popen[bytes]], run: Path) -> None:
    end = time.monotonic() + 240
    while ask_ready(url) != status:
        said = "".join(file.read_text() for file in run.glob("*.said"))
        assert all(each.poll() is None for each in processes), said
        assert time.monotonic() < end, said
        time.sleep(0.2)


def test_a_pod_starts_answers_and_stops(network: list[Machine], versions: Versions, tmp_path: Path) -> None:
    for program in ("unshare", "setpriv"):
        need(program)
    machine = network[3]
    machine.kill()
    run = tmp_path / "run"
    for folder in (run, tmp_path / "service", tmp_path / "gateway"):
        folder.mkdir()
        folder.chmod(0o777)
    shutil.copy(versions.archives["1.0"], run / "nli-1.0.mar")
    ports, at = Ports(), f"http://{machine.address}"
    with container(machine, "service", run, tmp_path / "service") as service:
        wait_for(f"{at}:{ports.readiness}/ready", 200, [service], run)
        with container(machine, "gateway", run, tmp_path / "gateway") as gateway:
            wait_for(f"{at}:8000/ready", 200, [service, gateway], run)
            assert requests.post(f"{at}:8000/api", json=PAIR, timeout=30).status_code == 200
            assert (
                "ts_inference_requests_total"
                in requests.get(f"{at}:{ports.metrics}/metrics", timeout=30).text
            )
            for port in (ports.inference, ports.management, ports.grpc_inference, ports.grpc_management):
                with pytest.raises(requests.ConnectionError):
                    requests.get(f"{at}:{port}/", timeout=5)
            assert stop(gateway) == 0
        assert ask_ready(f"{at}:8000/ready") == 0
        # The service is there until the gateway has gone.
        wait_for(f"{at}:{ports.readiness}/ready", 200, [service], run)
        assert stop(service) == 0, (run / "service.said").read_text()
