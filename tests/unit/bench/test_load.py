"""The benchmark's clients, against servers that don't keep to one connection."""

from __future__ import annotations

import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from handler.request import SentencePair
from scripts.bench.load import measure_load

PAIRS = [SentencePair("비가 온다.", "날씨가 맑다."), SentencePair("책을 읽는다.", "책이 있다.")]


class EchoOnce(socketserver.StreamRequestHandler):
    """Answers one request with its own body, and closes the connection."""

    def handle(self) -> None:
        length = 0
        while line := self.rfile.readline().strip().lower():
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = self.rfile.read(length)
        head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        self.wfile.write(head.encode() + body)


class Deaf(socketserver.StreamRequestHandler):
    """Closes the connection before it has answered."""

    def handle(self) -> None:
        self.rfile.readline()


@contextmanager
def served(handler: type[socketserver.StreamRequestHandler]) -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/predictions/nli"
        server.shutdown()


def test_a_server_that_closes_each_connection_is_measured_too() -> None:
    with served(EchoOnce) as url:
        found = measure_load(url, PAIRS, 2, 0.3, os.getpid())
    assert found.wrong == 0
    assert found.requests >= 2
    assert found.p50_ms <= found.p99_ms


def test_a_server_that_does_not_answer_ends_the_measurement() -> None:
    with served(Deaf) as url, pytest.raises((OSError, EOFError)):
        measure_load(url, PAIRS, 2, 0.3, os.getpid())
