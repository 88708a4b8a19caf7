"""`scripts/serve` as a process of its own."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from handler.errors import ConfigurationError
from scripts import PROJECT
from scripts.torchserve.management import Management
from scripts.torchserve.ports import Ports


class Service:
    """A `scripts/serve` in a folder of its own."""

    def __init__(
        self, folder: Path, python: Sequence[str] = (sys.executable,), project: Path = PROJECT
    ) -> None:
        self.folder = folder
        self.python = python
        self.project = project
        self.ports = free_row()
        self.process: subprocess.Popen[str] | None = None
        self.said = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.inference}/predictions/nli"

    @property
    def readiness_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.readiness}/ready"

    def begin(self, *arguments: str | Path) -> None:
        """Start it, without waiting until it is ready."""
        command = [*self.python, "-u", str(self.project / "scripts" / "serve.py"), *map(str, arguments)]
        command += ["--folder", str(self.folder), "--port", str(self.ports.inference)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.folder.parent
        )
        self.said = ""

    def start(self, *arguments: str | Path) -> None:
        """Start it and wait until it says that it is ready."""
        self.begin(*arguments)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        assert self.process
        assert self.process.stdout
        while "Ctrl-C stops it." not in self.said:
            line = self.process.stdout.readline()
            assert line, f"ended before it was ready: {self.said}"
            self.said += line

    def manage(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [*self.python, str(self.project / "scripts" / "manage.py"), "--url"]
        command += [f"http://127.0.0.1:{self.ports.management}", "--folder", str(self.folder)]
        return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=600)

    def registered(self) -> dict[str, tuple[bool, int]]:
        """By version: whether it is the default, and how many workers are ready."""
        versions = Management(f"http://127.0.0.1:{self.ports.management}").versions()
        return {each.version: (each.is_default, len(each.ready)) for each in versions}

    def processes(self) -> list[psutil.Process]:
        """Whatever runs because of this service: it names the service's folder, or runs there."""
        return [each for each in psutil.process_iter() if str(self.folder) in _traces(each)]

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


def _traces(process: psutil.Process) -> str:
    """The command line and the folder of a process."""
    try:
        return " ".join([*process.cmdline(), process.cwd()])
    except psutil.Error:
        return ""
