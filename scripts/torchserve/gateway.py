"""The gateway: nginx in front of a service, with limits, JSON errors and, where wanted, keys."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from handler.errors import ConfigurationError
from scripts import CONFIG

TEMPLATE = CONFIG / "nginx.conf"

ANSWER_SECONDS = 30
"""How long the gateway waits for an answer; a person has given up by then."""

STOP_SECONDS = ANSWER_SECONDS + 5
"""How long requests under way may take when the gateway stops: as long as at any other time."""

SYSTEM_PROGRAMS = "/usr/sbin"
"""Where Debian puts nginx, and doesn't look for it unless one is root."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, or whom to ask."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port``.

        Raises:
            ConfigurationError: it is something else.
        """
        found = re.fullmatch(r"([A-Za-z0-9.-]+|\[[0-9a-f:]+\]):(\d{1,5})", text)
        if not found or not 1 <= int(found[2]) <= 65535:
            raise ConfigurationError(f"an address is host:port, such as 127.0.0.1:8000, not {text!r}")
        return cls(found[1], int(found[2]))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def refuse_taken(self) -> None:
        """Check that one can listen here.

        Raises:
            ConfigurationError: somebody does already, or it can't be bound.
        """
        with socket.socket(socket.AF_INET6 if self.host.startswith("[") else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host.strip("[]"), self.port))
            except (OSError, OverflowError) as error:
                raise ConfigurationError(f"{self} can't be used: {error}") from None


def read_keys(file: Path) -> list[str]:
    """Read API keys, one a line; empty lines and lines that begin with # are left out.

    Raises:
        ConfigurationError: the file can't be read or holds no key, or a key is weak or malformed.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the keys can't be read: {error}") from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ConfigurationError(f"{file} holds no key")
    for number, line in enumerate(lines, 1):
        if line in keys and not re.fullmatch(r"[A-Za-z0-9_-]{24,128}", line):
            raise ConfigurationError(
                f"{file}:{number}: a key is 24 to 128 letters, digits, '_' and '-' (openssl rand -hex 32)"
            )
    return keys


class Gateway:
    """One nginx in front of one service."""

    def __init__(
        self,
        log: Path,
        service: Address,
        listen: Address,
        model: str = "nli",
        keys: Sequence[str] = (),
        answer_seconds: int = ANSWER_SECONDS,
    ) -> None:
        """Prepare a gateway; nothing is written or started yet.

        Args:
            log: a file for refusals and faults, appended to.
            service: TorchServe's inference address.
            listen: where clients come in.
            model: the served model's name in TorchServe's URLs.
            keys: that clients must send one of; empty lets everybody in.
            answer_seconds: how long to wait for an answer before 504.
        """
        self.log = log
        self.service = service
        self.listen = listen
        self.model = model
        self.keys = list(keys)
        self.answer_seconds = answer_seconds
        self._nginx: subprocess.Popen[bytes] | None = None
        self._scratch: Path | None = None

    @property
    def url(self) -> str:
        """Where clients come in."""
        return f"http://{self.listen}"

    def configuration(self) -> str:
        """`config/nginx.conf`, filled in."""
        keys = "".join(f'"~^Bearer {key}$" 0; ' for key in self.keys)
        values = {
            "LISTEN": str(self.listen),
            "SERVICE": str(self.service),
            "MODEL": self.model,
            "ANSWER_SECONDS": str(self.answer_seconds),
            "KEYS": f"default 1; {keys}" if keys else "",
        }
        template = TEMPLATE.read_text(encoding="utf-8")
        return re.sub(r"\$\{([A-Z_]+)\}", lambda name: values[name[1]], template)

    def start(self) -> None:
        """Start nginx and wait until it listens.

        Raises:
            ConfigurationError: nginx isn't installed, the address is taken, or nginx refuses to start.
        """
        program = shutil.which("nginx", path=os.environ.get("PATH", "") + os.pathsep + SYSTEM_PROGRAMS)
        if program is None:
            raise ConfigurationError("the gateway needs nginx, which isn't installed (apt-get install nginx)")
        self.listen.refuse_taken()
        # Started by root, nginx's workers are nobody: what they write must lie where nobody can go.
        self._scratch = Path(tempfile.mkdtemp(prefix="gateway-"))
        self._scratch.chmod(0o711)
        configuration = self._scratch / "nginx.conf"
        configuration.touch(mode=0o600)  # it may hold keys
        configuration.write_text(self.configuration(), encoding="utf-8")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            began = log.tell()
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
                said = self.log.read_bytes()[began:].decode(errors="replace").strip().splitlines()
                self.stop()
                raise ConfigurationError(f"nginx can't start: {said[-1] if said else 'it gave no reason'}")
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

    def __enter__(self) -> Self:
        """Start; whatever fails, nothing is left running."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _accepts(self) -> bool:
        host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(self.listen.host, self.listen.host.strip("[]"))
        try:
            socket.create_connection((host, self.listen.port), timeout=1).close()
        except OSError:
            return False
        return True


def _end_with_parent() -> None:
    """Let nginx end when the process does that started it, even by `kill -9`, and free its port."""
    set_parent_death_signal = 1  # prctl(2)
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGQUIT)
