"""Hosts as a cluster has them: service and gateway on a machine of their own, and one balancer before all."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from scripts import PROJECT
from tests.cluster.network import OURS, Machine
from tests.probes import ask_ready
from tests.programs import need

PORT = 8000
READINESS = 8085
BALANCER = PROJECT / "deploy" / "balancer" / "nginx.conf"


class Host:
    """`scripts/serve --gateway` on one machine."""

    def __init__(self, machine: Machine, folder: Path, *options: str) -> None:
        self.machine = machine
        self.folder = folder
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._archive: Path | None = None

    @property
    def gateway(self) -> str:
        return f"http://{self.machine.address}:{PORT}"

    @property
    def readiness(self) -> str:
        return f"http://{self.machine.address}:{READINESS}/ready"

    def ensure(self, archive: Path) -> None:
        """Begin it with this archive, unless it runs with it."""
        alive = self._process is not None and self._process.poll() is None
        if alive and self._archive == archive:
            return
        self.kill()
        self.begin(archive)

    def begin(self, archive: Path) -> None:
        self._archive = archive
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            str(PROJECT / "scripts" / "serve.py"),
            f"--archive={archive}",
            "--workers=1",
        ]
        command += [f"--folder={self.folder}", "--fresh", "--gateway", f"--gateway-address=0.0.0.0:{PORT}"]
        command += [
            f"--readiness-address=0.0.0.0:{READINESS}",
            f"--gateway-trusted-proxy={OURS}",
            *self.options,
        ]
        with (self.folder / "said").open("wb") as said:
            self._process = subprocess.Popen(self.machine.inside(*command), stdout=said, stderr=said)

    def wait_until_ready(self, seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while ask_ready(self.readiness) != 200 or ask_ready(f"{self.gateway}/ready") != 200:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "said").read_text()
            assert time.monotonic() < end, f"{self.machine.name} isn't ready after {seconds} s"
            time.sleep(0.2)

    def terminate(self) -> None:
        """SIGTERM, as a service manager stops it."""
        assert self._process is not None
        self._process.terminate()

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        self.terminate()
        assert self._process is not None
        assert self._process.wait(240) == 0, (self.folder / "said").read_text()

    def kill(self) -> None:
        """`kill -9` of the whole host."""
        self.machine.kill()
        if self._process is not None:
            self._process.wait(20)


class Balancer:
    """The nginx of deploy/balancer/nginx.conf before hosts, on this machine."""

    def __init__(self, folder: Path, hosts: Sequence[Host], port: int, retries: bool = True) -> None:
        self._program = need("nginx")
        text = BALANCER.read_text(encoding="utf-8")
        servers = "".join(f"server {each.machine.address}:{PORT} max_fails=0;\n" for each in hosts)
        text, count = re.subn(r"(?: *server 10\.0\.0\.\d+:8000 max_fails=0;\n)+", servers, text)
        assert count == 1
        for line, ours in [
            ("listen 80;", f"listen {OURS}:{port};"),
            ("pid /run/nginx.pid;", "pid nginx.pid; daemon off;"),
            ("worker_processes auto;", "worker_processes 1;"),
            ("worker_rlimit_nofile 65536;\n", ""),
        ]:
            assert line in text
            text = text.replace(line, ours)
        if not retries:  # as nginx does by itself: a POST isn't sent again
            text, count = re.subn(r"proxy_next_upstream\w* .*;\n", "", text)
            assert count == 3
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        self._folder = folder
        self._port = port
        (folder / "nginx.conf").write_text(text, encoding="utf-8")
        self.url = f"http://{OURS}:{port}"

    def __enter__(self) -> Self:
        command = [
            self._program,
            "-p",
            str(self._folder),
            "-c",
            str(self._folder / "nginx.conf"),
            "-e",
            "stderr",
        ]
        self._process = subprocess.Popen(command)
        while self._process.poll() is None:
            with suppress(ConnectionRefusedError):
                socket.create_connection((OURS, self._port)).close()
                return self
            time.sleep(0.05)
        raise AssertionError(f"nginx ended with {self._process.returncode}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
