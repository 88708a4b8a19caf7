"""An open loop: requests that come as they come, whether or not earlier ones were answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from handler.request import SentencePair
from scripts.bench.load import Connection, body_of

LARGE = 64
"""Pairs in a large request."""

GIVEN_UP = 30.0
"""Seconds after which a client no longer waits, as the gateway."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request and what became of it; times count from the beginning of the load."""

    pairs: int
    at: float
    seconds: float
    status: int
    """HTTP status; 0 where none came in time or the connection broke."""


@dataclass(frozen=True, slots=True)
class Load:
    """The requests that were sent in the time that counts."""

    sent: Sequence[Sent]
    seconds: float

    def of(self, pairs: int) -> Load:
        """Those of so many pairs."""
        return Load([each for each in self.sent if each.pairs == pairs], self.seconds)

    @property
    def offered(self) -> float:
        """Pairs a second that were asked about."""
        return sum(each.pairs for each in self.sent) / self.seconds

    @property
    def goodput(self) -> float:
        """Pairs a second that were answered."""
        return sum(each.pairs for each in self.sent if each.status == 200) / self.seconds

    def statuses(self) -> dict[int, int]:
        """Number of requests by status."""
        found: dict[int, int] = {}
        for each in self.sent:
            found[each.status] = found.get(each.status, 0) + 1
        return dict(sorted(found.items()))

    def percentile(self, percent: float) -> float:
        """Seconds that answered requests took."""
        times = [each.seconds for each in self.sent if each.status == 200]
        return float(np.percentile(times, percent)) if times else float("nan")


def bodies(pairs: Sequence[SentencePair], size: int, first: int = 0) -> Iterator[bytes]:
    """Requests of `size` pairs, over and over. Equal pairs are computed once, so clients begin apart."""
    rows = [body_of(pair) for pair in pairs]
    endless = cycle(rows[first:] + rows[:first])
    while True:
        each = [next(endless) for _ in range(size)]
        yield json.dumps(each if size > 1 else each[0], ensure_ascii=False).encode()


def measure_capacity(url: str, pairs: Sequence[SentencePair], seconds: float) -> float:
    """Pairs a second that the service answers to as many clients of both kinds as keep it busy."""
    return asyncio.run(_closed_loop(url, pairs, seconds))


async def _closed_loop(url: str, pairs: Sequence[SentencePair], seconds: float) -> float:
    done: list[tuple[float, int]] = []
    began = time.monotonic()

    async def client(size: int, first: int = 0) -> None:
        source = bodies(pairs, size, first)
        while time.monotonic() < began + seconds:
            if await _post(url, next(source), stamped=False) == 200:
                done.append((time.monotonic(), size))

    await asyncio.gather(client(LARGE), *(client(1, number * len(pairs) // 17) for number in range(1, 17)))
    # From the first third on, when all are at it, until the last request that was sent in time.
    counted = [(at, size) for at, size in done if at >= began + seconds / 3]
    return sum(size for _, size in counted) / (max(at for at, _ in counted) - began - seconds / 3)


def open_loop(
    url: str, pairs: Sequence[SentencePair], single: float, large: float, seconds: float, warm_up: float
) -> Load:
    """Send requests at random times and wait for all of them.

    Args:
        url: of the model.
        pairs: texts, taken in turns.
        single: requests of one pair a second.
        large: requests of `LARGE` pairs a second.
        seconds: time that counts.
        warm_up: time before it.
    """
    return asyncio.run(_open_loop(url, pairs, single, large, seconds, warm_up))


async def _open_loop(
    url: str, pairs: Sequence[SentencePair], single: float, large: float, seconds: float, warm_up: float
) -> Load:
    sent: list[Sent] = []
    running: set[asyncio.Task[None]] = set()
    began = time.monotonic()

    async def one(body: bytes, size: int) -> None:
        at = time.monotonic()
        status = await _post(url, body, stamped=True)
        sent.append(Sent(size, at - began, time.monotonic() - at, status))

    async def stream(size: int, rate: float) -> None:
        chance, source, due = random.Random(size), bodies(pairs, size, size), began
        while (due := due + chance.expovariate(rate)) < began + warm_up + seconds:
            await asyncio.sleep(due - time.monotonic())
            task = asyncio.create_task(one(next(source), size))
            running.add(task)
            task.add_done_callback(running.discard)

    await asyncio.gather(stream(1, single), stream(LARGE, large))
    while running:
        await asyncio.wait(running)
    return Load([each for each in sent if each.at >= warm_up], seconds)


async def _post(url: str, body: bytes, stamped: bool) -> int:
    """The status that a request on a connection of its own is answered with, stamped as the gateway does."""
    stamp = f"x-request-start: t={time.time():.3f}\r\n" if stamped else ""
    try:
        with contextlib.closing(Connection(url)) as connection:
            async with asyncio.timeout(GIVEN_UP):
                return (await connection.post(body, stamp))[0]
    except (OSError, EOFError):
        return 0
