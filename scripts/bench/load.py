"""A closed loop of clients: each sends its next pair after the last answer, and checks every answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from urllib.parse import urlsplit

import numpy as np
import psutil

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


class Meter:
    """Counts the time, and what some processes use, from now on."""

    def __init__(self, processes: Callable[[], Sequence[psutil.Process]]) -> None:
        """Begin; `processes` lists those that run at the moment."""
        self._processes = processes
        self.began, self._used = time.perf_counter(), self._cpu_seconds()

    def read(self, clients: int, times: Sequence[float], pairs: int = 1, wrong: int = 0) -> Measured:
        """The figures so far, of answers that took `times` and have so many `pairs` each."""
        took = time.perf_counter() - self.began
        memory = sum(process.memory_info().rss for process in self._processes()) / 1e6
        p50, p95, p99 = map(float, np.percentile(times or [np.nan], [50, 95, 99]) * 1000)
        count, cores = len(times) * pairs, (self._cpu_seconds() - self._used) / took
        return Measured(clients, count, wrong, count / took, p50, p95, p99, cores, memory)

    def _cpu_seconds(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())


class Connection:
    """One keep-alive connection; opened anew for a server that closes it after an answer, as Flask's does."""

    def __init__(self, url: str) -> None:
        """Note the address; the first request connects."""
        place = urlsplit(url)
        self._address = (place.hostname or "127.0.0.1", place.port or 80)
        self._head = (
            f"POST {place.path} HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-type: application/json\r\n"
        )
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, body: bytes, headers: str = "") -> tuple[int, bytes]:
        """Status and body of the response.

        Raises:
            OSError: the server can't be reached.
            EOFError: it closes the connection before it has answered.
        """
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(*self._address)
        self._writer.write(f"{self._head}{headers}content-length: {len(body)}\r\n\r\n".encode() + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        answer = await self._reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
        if "connection: close" in head:
            self.close()
        return int(head.split()[1]), answer

    def close(self) -> None:
        """Close the connection; safe to call again."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None


def body_of(pair: SentencePair) -> dict[str, str]:
    """A pair as a request has it."""
    return {"premise": pair.premise, "hypothesis": pair.hypothesis}


def measure_load(
    url: str, pairs: Sequence[SentencePair], clients: int, seconds: float, server: int
) -> Measured:
    """Send pairs to `url` over `clients` connections; `server` is the server's topmost process.

    It takes `seconds`, or longer where not every client has an answer by then.

    Raises:
        OSError, EOFError: the server can't be reached or closes a connection.
        ValueError: an answer isn't JSON.
    """
    return asyncio.run(_measure(url, pairs, clients, seconds, server))


async def _measure(
    url: str, pairs: Sequence[SentencePair], clients: int, seconds: float, server: int
) -> Measured:
    answered: list[float] = []  # the seconds that each took
    wrong = 0
    stop = asyncio.Event()

    async def ask(own: Sequence[SentencePair]) -> None:
        nonlocal wrong
        with contextlib.closing(Connection(url)) as connection:
            for asked in cycle(map(body_of, own)):
                body = json.dumps(asked, ensure_ascii=False).encode()
                sent = time.perf_counter()
                status, answer = await connection.post(body)
                answered.append(time.perf_counter() - sent)
                wrong += status != 200 or not asked.items() <= json.loads(answer).items()
                if stop.is_set():
                    break

    step = max(1, len(pairs) // clients)
    starts = [number * step % len(pairs) for number in range(clients)]
    running = [asyncio.create_task(ask([*pairs[first:], *pairs[:first]])) for first in starts]
    await asyncio.sleep(seconds * WARM_UP_SHARE)
    answered.clear()
    meter = Meter(partial(family_of, server))
    await asyncio.sleep(seconds * (1 - WARM_UP_SHARE))
    # Where an answer takes longer than the measurement, it goes on until there is one for each client.
    while len(answered) < clients and time.perf_counter() - meter.began < seconds + ANSWER_SECONDS:
        if any(task.done() for task in running):
            break
        await asyncio.sleep(0.1)
    measured = meter.read(clients, answered)
    stop.set()
    async with asyncio.timeout(ANSWER_SECONDS):
        await asyncio.gather(*running)
    return replace(measured, wrong=wrong)
