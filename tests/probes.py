"""Readiness probes that go on beside what a test does."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Self

import requests


def ask_ready(url: str, seconds: float = 5) -> int:
    """The status of a readiness address; 0 where nobody answers."""
    try:
        return requests.get(url, timeout=seconds).status_code
    except requests.RequestException:
        return 0


@dataclass(frozen=True, slots=True)
class Probe:
    """One round of questions; times are on the monotonic clock."""

    asked: float
    answered: float
    statuses: tuple[int, ...]
    """Of each address; 0 where nobody listens."""


class Probes:
    """Asks readiness addresses in turn, up to ten times a second."""

    def __init__(self, *urls: str, seconds: float = 120) -> None:
        """Take the addresses, and how long to wait for a status."""
        self._urls, self._seconds = urls, seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.seen: list[Probe] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(200)

    def wait_for(self, status: int, count: int = 1) -> None:
        """Wait until all addresses answer so from now on, so many times one after another."""
        began, wanted = time.monotonic(), [(status,) * len(self._urls)] * count
        while [each.statuses for each in self.seen[-count:] if each.asked > began] != wanted:
            assert time.monotonic() - began < self._seconds, f"{self.seen[-10:]}, never {status}"
            time.sleep(0.05)

    def assert_drained(self, stopped: float, delay: float) -> None:
        """Check that each address said 503 from a stop on, and was there for the drain delay."""
        after = [each for each in self.seen if each.asked > stopped]
        for statuses in zip(*(each.statuses for each in after), strict=True):
            assert list(statuses) == sorted(statuses, key=[200, 503, 0].index)
            assert statuses.count(503) > statuses.count(200)  # at most what was found before the signal
            assert after[statuses.index(0)].answered > stopped + delay

    def _ask(self) -> None:
        while not self._done.wait(0.1):
            asked = time.monotonic()
            statuses = tuple(ask_ready(url, 60) for url in self._urls)
            self.seen.append(Probe(asked, time.monotonic(), statuses))
