"""A server in between that forwards HTTP requests and fails at a chosen one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import requests

Kind = Literal["refused", "lost", "interrupted", "held"]


@dataclass
class Between:
    """Where it listens, and what goes wrong there."""

    url: str
    method: str = ""
    path: str = ""
    """Part of the path of the request that fails; one only."""
    kind: Kind = "refused"
    """`refused` isn't forwarded; `lost` is, but not answered; `interrupted` sends SIGINT to this process;
    `held` is forwarded once `released` is set."""
    passing: int = 0
    """Number of such requests that are forwarded before the one that fails."""
    released: threading.Event = field(default_factory=threading.Event)
    failed: list[str] = field(default_factory=list)

    def fail(self, method: str, path: str, kind: Kind, after: int = 0) -> None:
        """Let one such request fail, the next or one `after` so many."""
        self.method, self.path, self.kind, self.passing = method, path, kind, after
        self.failed.clear()
        self.released.clear()

    def fails(self, method: str, path: str) -> bool:
        """Whether this request is the one."""
        if self.failed or method != self.method or self.path not in path:
            return False
        self.passing -= 1
        if self.passing >= 0:
            return False
        self.failed.append(f"{method} {path}")
        return True


@contextmanager
def between(target: str) -> Iterator[Between]:
    """Forward to `target` until the end."""
    state = Between("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fails = state.fails(self.command, self.path)
            if fails and state.kind == "refused":
                self._answer(500, b'{"message": "a planted fault"}')
                return
            if fails and state.kind == "held":
                state.released.wait()
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            sent = self.headers["Content-Type"]
            headers = {"Content-Type": sent} if sent else {}
            with requests.Session() as session:
                session.trust_env = False
                response = session.request(
                    self.command, target + self.path, data=body, headers=headers, timeout=120
                )
            if fails and state.kind == "interrupted":
                os.kill(os.getpid(), signal.SIGINT)
            if fails and state.kind == "lost":
                self.close_connection = True
                return
            self._answer(response.status_code, response.content)

        do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 (the names that http.server calls)

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    yield state
    state.released.set()
    server.shutdown()
    server.server_close()
