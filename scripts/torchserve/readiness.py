"""Telling a load balancer whether this service should get requests: 200 or 503 on a port of its own."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from scripts.torchserve.management import Management, OperationError
from scripts.torchserve.processes import Running

CHECK_SECONDS = 2.0
"""Time limit of a check, which TorchServe answers beside its queues."""

KEEP_SECONDS = 0.5
"""Time for which a result is kept, so that frequent probes cost the frontend nothing."""


class Readiness(Running):
    """Answers `GET /ready`: 200 while the default version has a ready worker, else 503 with the reason."""

    def __init__(self, management: Management, port: int, host: str = "127.0.0.1") -> None:
        """Prepare a server for probes; nobody listens yet."""
        self._management = management
        self._address = (host.strip("[]"), port)
        self._lock = threading.Lock()
        self._checked = float("-inf")
        self._fault: str | None = None
        self.has_been_ready = False
        """Whether `/ready` has ever answered 200, so that requests may have been sent here."""
        self._draining = False
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """The address for probes; the port is known once the server listens."""
        host, port = self._server.server_address[:2] if self._server else self._address
        return f"http://{host!s}:{port}/ready"

    def start(self) -> None:
        """Begin to listen."""
        readiness = self

        class Probe(BaseHTTPRequestHandler):
            timeout = 10  # of a connection that sends nothing

            def do_GET(self) -> None:  # the name that http.server calls
                fault = readiness.fault() if self.path == "/ready" else "ask for /ready"
                body = json.dumps({"ready": fault is None, "reason": fault}).encode() + b"\n"
                self.send_response(404 if self.path != "/ready" else 503 if fault else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Write nothing: probes are frequent."""

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
            daemon_threads = True

        self._server = Server(self._address, Probe)
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()

    def announce_drain(self) -> None:
        """Answer 503 from now on, whatever the workers do."""
        self._draining = True

    def stop(self) -> None:
        """Stop listening; safe to call again."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def fault(self) -> str | None:
        """The reason why the service should get no requests, or None if it should."""
        if self._draining:
            return "draining"
        with self._lock:
            if time.monotonic() - self._checked > KEEP_SECONDS:
                self._fault = fault_of(self._management)
                self._checked = time.monotonic()
                self.has_been_ready |= self._fault is None
            return self._fault


def fault_of(management: Management) -> str | None:
    """The reason why a model can't answer, from TorchServe's worker states, or None if it can.

    A busy worker is `READY` there; one that has ended isn't.
    """
    try:
        default = management.default(CHECK_SECONDS)
    except OperationError as error:
        return str(error)
    if default is None:
        return f"no version of {management.model} is registered"
    if default.ready:
        return None
    states = ", ".join(worker.status for worker in default.workers) or "none"
    return f"version {default.version} has no ready worker (of {default.wanted} wanted: {states})"
