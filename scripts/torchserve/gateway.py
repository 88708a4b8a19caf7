"""The gateway: nginx in front of a service, with limits, JSON errors and, where wanted, keys."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

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

LOG_BYTES, LOGS_KEPT = 10_000_000, 3
"""Size at which the log turns over, and number of old ones that are kept, as in config/log4j2.xml."""

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
        self._writer: threading.Thread | None = None
        self._last_line = "see above"

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
        file = None
        if self.log:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            file = RotatingFileHandler(self.log, maxBytes=LOG_BYTES, backupCount=LOGS_KEPT, encoding="utf-8")
        self._nginx = subprocess.Popen(
            [program, "-p", str(self._scratch), "-c", str(configuration), "-e", "stderr"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if file else None,
            stderr=subprocess.STDOUT if file else None,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        if file and self._nginx.stdout:
            self._writer = threading.Thread(target=self._write, args=(self._nginx.stdout, file), daemon=True)
            self._writer.start()
        while not self._accepts():
            if self._nginx.poll() is not None:
                self.stop()
                raise ConfigurationError(f"nginx can't start: {self._last_line}")
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
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def is_running(self) -> bool:
        """Whether nginx is there; says nothing of the service behind it."""
        return self._nginx is not None and self._nginx.poll() is None

    def _write(self, said: IO[bytes], file: RotatingFileHandler) -> None:
        """Write what nginx says to the log, in a thread, until nginx ends."""
        with said:
            for line in said:
                self._last_line = line.decode(errors="replace").rstrip()
                file.handle(logging.makeLogRecord({"msg": self._last_line}))
        file.close()

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
