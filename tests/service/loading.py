"""Versions that can be told apart by their answers, and clients that never stop asking."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import requests
import torch

from scripts.model.archive import build_archive
from scripts.model.conversion import convert_checkpoint
from scripts.torchserve.management import Management
from tests.making import random_weights, write_lightning_checkpoint

LABELS = ("entailment", "contradiction", "neutral")
VERSIONS = ("1.0", "2.0", "3.0")
LABEL_OF = dict(zip(VERSIONS, LABELS, strict=True))
PAIR = {"premise": "남자가 책을 읽는다.", "hypothesis": "여자가 비를 만난다."}


def write_biased_archive(store: Path, scratch: Path, pretrained: Path, version: str) -> Path:
    """An archive whose every answer is the one label that `LABEL_OF` says."""
    weights = random_weights(pretrained)
    weights["classifier.bias"] = torch.zeros(3)
    weights["classifier.bias"][LABELS.index(LABEL_OF[version])] = 100.0
    file = write_lightning_checkpoint(scratch / version / "epoch=1-val_loss=0.50.ckpt", weights)
    checkpoint = convert_checkpoint(file, str(pretrained), scratch / f"converted-{version}")
    return build_archive(checkpoint, version, store / f"nli-{version}.mar")


@dataclass(frozen=True, slots=True)
class Answered:
    """One request and what became of it; times are on the monotonic clock."""

    sent: float
    received: float
    outcome: str
    """`200`, another status with the service's message, or the name of a client's error."""
    version: str = ""
    label: str = ""


@dataclass
class Clients:
    """Threads on connections of their own, each asking again as soon as it is answered.

    To a gateway they look like many people, whom it lets in as often as they ask.
    """

    url: str
    count: int = 16
    answered: list[Answered] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._enough = threading.Event()
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

    def wait_for(self, number: int, seconds: float = 900) -> None:
        """Wait until so many requests have been answered in all."""
        deadline = time.monotonic() + seconds
        while len(self.answered) < number:
            assert time.monotonic() < deadline, f"{len(self.answered)} answers in {seconds:.0f} s"
            time.sleep(0.05)

    def _ask(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not self._enough.is_set():
                sent = time.monotonic()
                try:
                    headers = {"X-Forwarded-For": f"10.0.{random.randrange(256)}.{random.randrange(256)}"}
                    answer = session.post(self.url, json=PAIR, headers=headers, timeout=50)
                except requests.RequestException as error:
                    self.answered.append(Answered(sent, time.monotonic(), type(error).__name__))
                    time.sleep(0.05)
                    continue
                received = time.monotonic()
                if answer.status_code != 200:
                    outcome = f"{answer.status_code} {answer.text[:200]}"
                    self.answered.append(Answered(sent, received, outcome))
                    continue
                body = answer.json()
                self.answered.append(Answered(sent, received, "200", body["model"]["version"], body["label"]))


class TimedManagement(Management):
    """Notes during which time each version was the default, with the time of the call itself for both."""

    def __init__(self, url: str, first: str) -> None:
        super().__init__(url)
        self.periods = [(first, time.monotonic(), float("inf"))]

    def set_default(self, version: str) -> None:
        began = time.monotonic()
        super().set_default(version)
        last, since, _ = self.periods.pop()
        self.periods += [(last, since, time.monotonic()), (version, began, float("inf"))]

    def was_default(self, answered: Answered) -> bool:
        """Whether the version that answered was meant to, at some time while the request was under way."""
        return any(
            version == answered.version and answered.received >= begin and answered.sent <= end
            for version, begin, end in self.periods
        )
