"""The gateway: nginx in front of a service, with limits, JSON errors and, where wanted, keys."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from handler.errors import ConfigurationError
from scripts.torchserve.gateway_settings import (
    ANSWER_SECONDS,
    CONNECTIONS,
    GatewaySettings,
    possible_connections,
)
from scripts.torchserve.processes import Running

STOP_SECONDS = ANSWER_SECONDS + 5
"""Time limit for a stop, longer than the time limit of the requests under way."""

SYSTEM_PROGRAMS = "/usr/sbin"
"""Where Debian puts nginx; only root has it on the PATH."""


class Gateway(Running):
    """One nginx in front of one service."""

    def __init__(self, log: Path | None, settings: GatewaySettings) -> None:
        """Prepare a gateway; nothing is written or started yet.

        Args:
            log: a file for failed requests and faults, appended to; None for standard output.
            settings: addresses, limits and keys.
        """
        self.log = log
        self.settings = settings
        self._nginx: subprocess.Popen[bytes] | None = None
        self._scratch: Path | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://{self.settings.listen}"

    def start(self) -> None:
        """Start nginx and wait until it listens.

        Raises:
            ConfigurationError: nginx isn't installed, the address is taken, or nginx refuses to start.
        """
        program = shutil.which("nginx", path=os.environ.get("PATH", "") + os.pathsep + SYSTEM_PROGRAMS)
        if program is None:
            raise ConfigurationError("the gateway needs nginx, which isn't installed (apt-get install nginx)")
        self.settings.listen.refuse_taken()
        connections = possible_connections()
        if connections < CONNECTIONS:
            print(
                f"the gateway takes {connections:,} connections at once, as the limit of open files allows; "
                f"{2 * CONNECTIONS:,} files (ulimit -Hn) let no single address use them all",
                flush=True,
            )
        # Started by root, nginx's workers are nobody: what they write must lie where nobody can go.
        self._scratch = Path(tempfile.mkdtemp(prefix="gateway-"))
        self._scratch.chmod(0o711)
        configuration = self._scratch / "nginx.conf"
        configuration.touch(mode=0o600)  # it may hold keys
        configuration.write_text(self.settings.configuration(connections), encoding="utf-8")
        document = self._scratch / "static" / "openapi.json"
        document.parent.mkdir()
        document.write_text(self.settings.document(), encoding="utf-8")
        document.parent.chmod(0o711)
        document.chmod(0o644)
        if self.log:
            self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") if self.log else contextlib.nullcontext() as log:
            began = log.tell() if log else 0
            self._nginx = subprocess.Popen(
                [program, "-p", str(self._scratch), "-c", str(configuration), "-e", "stderr"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        while not self._accepts():
            if self._nginx.poll() is not None:
                self.stop()
                said = self.log.read_bytes()[began:].decode(errors="replace").strip() if self.log else ""
                raise ConfigurationError(
                    f"nginx can't start: {said.splitlines()[-1] if said else 'see above'}"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """Let requests under way end, then end nginx; safe to call again."""
        if self._nginx is not None:
            self._nginx.send_signal(signal.SIGQUIT)
            try:
                self._nginx.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._nginx.terminate()
                self._nginx.wait()
            self._nginx = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def is_running(self) -> bool:
        """Whether nginx is there; says nothing of the service behind it."""
        return self._nginx is not None and self._nginx.poll() is None

    def _accepts(self) -> bool:
        listen = self.settings.listen
        host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(listen.host, listen.host.strip("[]"))
        try:
            socket.create_connection((host, listen.port), timeout=1).close()
        except OSError:
            return False
        return True


def _end_with_parent() -> None:
    """Let nginx end when the process that started it does, even by `kill -9`, and free its port."""
    set_parent_death_signal = 1  # prctl(2)
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGQUIT)
