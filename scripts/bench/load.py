"""A closed loop of clients: each sends its next pair after the last answer, and checks every answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import cast
from urllib.parse import urlsplit

import numpy as np

from handler.request import SentencePair
from scripts.torchserve.processes import family_of

WARM_UP_SHARE = 0.2
"""Share of a measurement's time, at its beginning, that isn't counted."""

ANSWER_SECONDS = 60
"""Seconds for the last answers, and by which a measurement without any is prolonged."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one measurement with a number of clients."""

    clients: int
    requests: int
    wrong: int
    """Answers that were errors or for another pair."""
    pairs_per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu: float
    """Average number of cores that the server kept busy."""
    memory_mb: float
    """Resident memory of the server's processes, shared pages counted once for each."""


class _Client(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, head: str, pairs: Sequence[SentencePair], first: int) -> None:
        self._head = head
        self._pairs = cycle([*pairs[first:], *pairs[:first]])
        self.answers: list[tuple[float, float]] = []
        """Time of arrival and duration of each answer, in seconds."""
        self.wrong = 0
        self.stopped = asyncio.get_running_loop().create_future()
        self._stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end].decode("latin-1").lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        if len(self._received) < end + 4 + length:
            return
        now = time.perf_counter()
        self.answers.append((now, now - self._sent))
        try:
            answer = json.loads(self._received[end + 4 :])
            mine = answer["premise"] == self._pair.premise and answer["hypothesis"] == self._pair.hypothesis
            right = mine and head.startswith("http/1.1 200")
        except (ValueError, KeyError, TypeError):
            right = False
        self.wrong += not right
        if self._stopping:
            self._transport.close()
            self.stopped.set_result(None)
        elif "connection: close" in head:
            self._again = asyncio.create_task(self._connect_again())
        else:
            self._send()

    async def _connect_again(self) -> None:
        """Connect again to a server that answers once a connection, as Flask's does."""
        place = self._transport.get_extra_info("peername")
        self._transport.abort()  # a reset that arrives from here on is none of the new connection's
        await asyncio.get_running_loop().create_connection(lambda: self, *place)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.stopped.done() and exc is not None:
            self.stopped.set_exception(exc)

    def stop(self) -> None:
        """Let the request under way be the last."""
        self._stopping = True

    def _send(self) -> None:
        self._pair = next(self._pairs)
        body = json.dumps(
            {"premise": self._pair.premise, "hypothesis": self._pair.hypothesis}, ensure_ascii=False
        ).encode()
        self._received = b""
        self._sent = time.perf_counter()
        self._transport.write(f"{self._head}content-length: {len(body)}\r\n\r\n".encode() + body)


def measure_load(
    url: str, pairs: Sequence[SentencePair], clients: int, seconds: float, server: int
) -> Measured:
    """Send pairs to `url` over `clients` connections; `server` is the server's topmost process.

    It takes `seconds`, or longer where not every client has an answer by then.

    Raises:
        OSError: the server can't be reached or closes a connection.
    """
    return asyncio.run(_measure(url, pairs, clients, seconds, server))


async def _measure(
    url: str, pairs: Sequence[SentencePair], clients: int, seconds: float, server: int
) -> Measured:
    place = urlsplit(url)
    head = f"POST {place.path} HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-type: application/json\r\n"
    loop = asyncio.get_running_loop()
    step = max(1, len(pairs) // clients)
    running = []
    for number in range(clients):
        first = number * step % len(pairs)
        made = await loop.create_connection(
            lambda first=first: _Client(head, pairs, first),  # type: ignore[misc]
            place.hostname or "127.0.0.1",
            place.port or 80,
        )
        running.append(made[1])
    await asyncio.sleep(seconds * WARM_UP_SHARE)
    began, cpu = time.perf_counter(), _cpu_seconds(server)
    await asyncio.sleep(seconds * (1 - WARM_UP_SHARE))
    # Where an answer takes longer than the measurement, it goes on until there is one for each client.
    while sum(came >= began for client in running for came, _ in client.answers) < clients:
        if time.perf_counter() - began > seconds + ANSWER_SECONDS:
            break
        await asyncio.sleep(0.1)
    ended, used = time.perf_counter(), _cpu_seconds(server) - cpu
    memory = sum(process.memory_info().rss for process in family_of(server)) / 1e6
    for client in running:
        client.stop()
    async with asyncio.timeout(ANSWER_SECONDS):
        await asyncio.gather(*(client.stopped for client in running))
    times = [took for client in running for came, took in client.answers if began <= came <= ended]
    p50, p95, p99 = np.percentile(times, [50, 95, 99]) * 1000 if times else (float("nan"),) * 3
    wrong = sum(client.wrong for client in running)
    rate = len(times) / (ended - began)
    busy = used / (ended - began)
    return Measured(clients, len(times), wrong, rate, float(p50), float(p95), float(p99), busy, memory)


def _cpu_seconds(pid: int) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in family_of(pid))
