"""Telling a load balancer whether this service should get requests: 200 or 503 on a port of its own."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from scripts.torchserve.management import Management, OperationError
from scripts.torchserve.waiting import check_ready

CHECK_SECONDS = 10.0
"""How long a check may take: its questions wait behind the requests in the queue."""

KEEP_SECONDS = 1.0
"""How long a finding is good for, so that frequent probes don't keep the workers busy."""


class Readiness:
    """Answers `GET /ready`: 200 while every worker of the default version answers, else 503 and why."""

    def __init__(self, management: Management, port: int) -> None:
        """Prepare; nobody listens yet. The port is on loopback, as those of TorchServe are."""
        self._management = management
        self._port = port
        self._lock = threading.Lock()
        self._checked = float("-inf")
        self._fault: str | None = "starting"
        self._stopping = False
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """What a load balancer asks."""
        return f"http://127.0.0.1:{self._port}/ready"

    def start(self) -> None:
        """Begin to listen."""
        readiness = self

        class Probe(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server calls
                fault = readiness.fault() if self.path == "/ready" else "ask for /ready"
                body = json.dumps({"ready": fault is None, "reason": fault}).encode() + b"\n"
                self.send_response(404 if self.path != "/ready" else 503 if fault else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Write nothing: a probe each second is no news."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Probe)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def announce_stop(self) -> None:
        """Say 503 from now on, whatever the workers do."""
        self._stopping = True

    def stop(self) -> None:
        """End listening; safe to call again."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def fault(self) -> str | None:
        """Why the service should get no requests, or None if it should."""
        with self._lock:
            if not self._stopping and time.monotonic() - self._checked > KEEP_SECONDS:
                self._fault = self._check()
                self._checked = time.monotonic()
            return "stopping" if self._stopping else self._fault

    def _check(self) -> str | None:
        try:
            default = self._management.default()
            if default is None:
                return f"no version of {self._management.model} is registered"
            check_ready(self._management, default, CHECK_SECONDS)
        except OperationError as error:
            return str(error)
        return None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()
