"""The targets of the benchmark: the bare engine in this process, and servers that are started and ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from handler.checkpoint import Checkpoint
from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts import PROJECT
from scripts.bench.load import Measured, Meter
from scripts.pairs.local_model import LocalModel
from scripts.pairs.session import new_session
from scripts.torchserve.ports import Ports
from scripts.torchserve.processes import end, family_of

PATHS = {"tutorial": "/api", "litserve": "/predict", "mosec": "/inference"}
START_SECONDS = 120
LARGEST_BATCH = 32
"""Largest batch of the bare engine, which gets as many pairs at a time as there are clients, up to this."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server or an engine that is measured."""

    name: str
    measure: Callable[[int, float], Measured]
    """Measures it with a number of clients for some seconds."""
    engine: str | None = None
    """Name of the target that is this one's engine without a server."""


def bare_engine(folder: Path, pairs: Sequence[SentencePair], name: str) -> Target:
    """The bare engine, in this process: encoding and forward passes, nothing else."""
    model = LocalModel(Checkpoint.read(folder))
    model.engine.warm_up()

    def measure(clients: int, seconds: float) -> Measured:
        size = min(clients, LARGEST_BATCH)
        times: list[float] = []
        meter = Meter(lambda: [psutil.Process()])
        while (began := time.perf_counter()) - meter.began < seconds:
            first = len(times) * size
            model.probabilities([pairs[(first + index) % len(pairs)] for index in range(size)])
            times.append(time.perf_counter() - began)
        return meter.read(clients, times, size)

    return Target(name, measure)


@contextlib.contextmanager
def peer(name: str, folder: Path, workers: int, scratch: Path) -> Iterator[tuple[str, int]]:
    """A peer with so many workers of a model: its URL and its process.

    Raises:
        ConfigurationError: it doesn't start.
    """
    port = Ports.free().inference
    log = scratch / f"{name}{workers}.log"
    command = [sys.executable, "-m", f"scripts.bench.peers.{name}", str(folder.resolve()), str(port)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, str(workers)], stdout=output, stderr=output, env=environment, cwd=PROJECT
        )
    try:
        url = f"http://127.0.0.1:{port}{PATHS[name]}"
        deadline = time.monotonic() + START_SECONDS
        with new_session(url) as session:
            while True:
                if process.poll() is not None:
                    reason = log.read_text(errors="replace").strip().rpartition("\n")[2][:200]
                    raise ConfigurationError(f"{name} ended while starting: {reason}")
                if time.monotonic() > deadline:
                    raise ConfigurationError(f"{name} is not ready after {START_SECONDS} s")
                with contextlib.suppress(requests.RequestException):
                    if session.post(url, json={"premise": "가", "hypothesis": "나"}, timeout=5).ok:
                        break
                time.sleep(0.2)
        yield url, process.pid
    finally:
        family = family_of(process.pid)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        end(family)
