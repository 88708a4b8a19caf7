"""A small HTTP server in TorchServe's place, which answers as told and notes what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]
"""Status and body; a body that is bytes is sent as it is."""


@dataclass
class StandIn:
    """Versions of `nli` with the states of their workers, as TorchServe describes them."""

    url: str = ""
    default: str = "1.0"
    workers: dict[str, list[str]] = field(default_factory=lambda: {"1.0": ["READY"]})
    """The status of each worker, by version; process ids count from 100."""
    wanted: int = 1
    queued: int = 0
    taken: dict[int, int] = field(default_factory=dict)
    """Requests that each worker has taken, by process id."""
    delay: float = 0.0
    """Seconds before each answer."""
    override: Callable[[str, str], Answer | None] = lambda _method, _path: None
    """What is answered instead, if not None, to a method and a path with its query."""
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and `Authorization` of each request."""
    _turn: int = 0

    def describe(self, version: str, customized: bool = False) -> dict[str, Any]:
        """One version, with the report of a worker if `customized`; workers take turns."""
        workers = [{"pid": 100 + i, "status": status} for i, status in enumerate(self.workers[version])]
        described: dict[str, Any] = {
            "modelVersion": version,
            "modelUrl": f"nli-{version}.mar",
            "minWorkers": self.wanted,
            "workers": workers,
            "jobQueueStatus": {"pendingRequests": self.queued},
        }
        if customized:
            pid = 100 + self._turn % max(1, len(workers))
            self._turn += 1
            worker = {"pid": pid, "requests": self.taken.get(pid, 0)}
            described["customizedMetadata"] = {"worker": worker, "labels": ["a", "b"]}
        return described

    def answer(self, method: str, path: str) -> Answer:
        """The answer to a request."""
        special = self.override(method, path)
        if special is not None:
            return special
        path, _, query = path.partition("?")
        parts = path.strip("/").split("/")
        if parts == ["models"]:
            return 200, {"models": [{"modelName": "nli"}]}
        if parts[1] != "nli" or (parts[2:] and parts[2] not in {"all", *self.workers}):
            return 404, {"message": "Model not found"}
        if parts[2:] == ["all"]:
            return 200, [self.describe(version) for version in self.workers]
        return 200, [self.describe((parts[2:] or [self.default])[0], "customized" in query)]


@contextmanager
def stand_in(**state: Any) -> Iterator[StandIn]:
    """A running server with this state, which may be changed meanwhile."""
    answers = StandIn(**state)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.asked.append((self.command, self.path, self.headers["Authorization"]))
            time.sleep(answers.delay)
            status, body = answers.answer(self.command, self.path)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 (the names that http.server calls)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answers.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield answers
    server.shutdown()
    server.server_close()
