"""Clients that ask without a pause, and what becomes of each request."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import requests

T = TypeVar("T")

PAIR = {"premise": "남자가 책을 읽는다.", "hypothesis": "여자가 비를 만난다."}


@dataclass(frozen=True, slots=True)
class Answered:
    """One request and what became of it; times are on the monotonic clock."""

    sent: float
    received: float
    outcome: str
    """How an answer was judged, another status than 200 with the message, or the name of a client's error."""
    version: str = ""
    label: str = ""

    @property
    def seconds(self) -> float:
        return self.received - self.sent


def occupy(pool: Executor, ask: Callable[[], T], queued: Callable[[], int]) -> list[Future[T]]:
    """Ask until a request waits, so that each worker, suspended by the caller, has some already."""
    asked: list[Future[T]] = []
    deadline = time.monotonic() + 60
    while not queued():
        assert time.monotonic() < deadline, "nothing waits"
        asked.append(pool.submit(ask))
        time.sleep(0.1)
    return asked


@dataclass
class Clients:
    """Threads on connections of their own, each asking again as soon as it is answered.

    To a gateway they look like many people, whom it lets in as often as they ask.
    """

    url: str
    count: int = 16
    bodies: Sequence[Mapping[str, str]] = (PAIR,)
    """What they ask in turn."""
    judge: Callable[[int, dict[str, Any]], str] = lambda *_: "200"
    """The outcome of an answer to the body of that number."""
    answered: list[Answered] = field(default_factory=list)
    pause: float = 0
    """Seconds that each waits between an answer and its next request; may change while they ask."""

    def __enter__(self) -> Self:
        self._enough = threading.Event()
        self._asked = itertools.count()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(self.count)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in self._threads:
            thread.join(timeout=60)
        assert not any(thread.is_alive() for thread in self._threads), "a request hangs"

    def stop(self) -> None:
        """Send nothing after what is under way."""
        self._enough.set()

    def wait_for(self, more: int, seconds: float = 900) -> None:
        """Wait until so many more requests have come to an end."""
        target, deadline = len(self.answered) + more, time.monotonic() + seconds
        while len(self.answered) < target:
            assert time.monotonic() < deadline, f"{len(self.answered)} of {target} in {seconds:.0f} s"
            time.sleep(0.05)

    def outcomes(self) -> Counter[str]:
        return Counter(each.outcome for each in self.answered)

    def _ask(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not self._enough.is_set():
                number = next(self._asked) % len(self.bodies)
                headers = {"X-Forwarded-For": f"10.0.{random.randrange(256)}.{random.randrange(256)}"}
                sent, version, label = time.monotonic(), "", ""
                try:
                    response = session.post(self.url, json=self.bodies[number], headers=headers, timeout=50)
                    received = time.monotonic()
                    outcome = f"{response.status_code} {response.text[:200]}"
                    if response.status_code == 200:
                        answer = response.json()
                        version, label = answer["model"]["version"], answer["label"]
                        outcome = self.judge(number, answer)
                except requests.RequestException as error:
                    received, outcome = time.monotonic(), type(error).__name__
                    time.sleep(0.05)
                self.answered.append(Answered(sent, received, outcome, version, label))
                time.sleep(self.pause)
