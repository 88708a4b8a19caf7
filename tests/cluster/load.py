"""Clients that ask different pairs without a pause, and hold each answer against its own pair."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import requests

from handler.request import SentencePair

Expected = Mapping[str, Sequence[Sequence[float]]]
"""By version, the probabilities of each pair."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when, for how long, and what came of it."""

    sent: float
    seconds: float
    outcome: str
    """`right`, `swapped` (the answer to another pair), or what was answered instead."""
    version: str = ""


class Load:
    """So many clients on connections of their own."""

    def __init__(
        self, url: str, pairs: Sequence[SentencePair], expected: Expected, clients: int = 12
    ) -> None:
        self._url = f"{url}/predictions/nli"
        self._pairs = pairs
        self._expected = expected
        self._next = itertools.count()
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]
        self.asked: list[Asked] = []

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        for each in self._threads:
            each.join(120)
        assert not any(each.is_alive() for each in self._threads), "a request hangs"

    def wait_for(self, more: int, seconds: float = 900) -> None:
        """Wait until so many more requests have come to an end."""
        target, end = len(self.asked) + more, time.monotonic() + seconds
        while len(self.asked) < target:
            assert time.monotonic() < end, f"{len(self.asked)} of {target} requests in {seconds:.0f} s"
            time.sleep(0.05)

    def outcomes(self) -> Counter[str]:
        return Counter(each.outcome for each in self.asked)

    def report(self, event: str) -> str:
        waits = sorted(each.seconds for each in self.asked)
        wrong = {outcome: count for outcome, count in self.outcomes().items() if outcome != "right"}
        return (
            f"{event}: {len(waits)} asked, not answered right: {wrong or 0}; "
            f"waits: median {waits[len(waits) // 2]:.3f} s, longest {waits[-1]:.2f} s"
        )

    def _ask(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not self._enough.is_set():
                number = next(self._next) % len(self._pairs)
                pair = self._pairs[number]
                sent = time.monotonic()
                version = ""
                try:
                    answer = session.post(
                        self._url, json={"premise": pair.premise, "hypothesis": pair.hypothesis}, timeout=60
                    )
                    if answer.status_code == 200:
                        outcome, version = self._judge(answer.json(), number)
                    else:
                        outcome = f"{answer.status_code} {answer.text[:150]}"
                except requests.RequestException as error:
                    outcome = type(error).__name__
                self.asked.append(Asked(sent, time.monotonic() - sent, outcome, version))

    def _judge(self, answer: dict[str, Any], number: int) -> tuple[str, str]:
        version = answer["model"]["version"]
        given = list(answer["probabilities"].values())
        right = self._expected[version][number]
        close = all(abs(a - b) < 1e-4 for a, b in zip(given, right, strict=True))
        return ("right" if close else "swapped"), version
