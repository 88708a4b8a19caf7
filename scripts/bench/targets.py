"""What the benchmark compares: the bare engine in this process, and servers that it starts and ends."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import requests

from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts import PROJECT
from scripts.bench.load import Measured
from scripts.bench.peers.classifier import Classifier
from scripts.pairs.session import new_session
from scripts.torchserve.processes import end as end_processes
from scripts.torchserve.processes import family_of
from scripts.torchserve.server import Ports, TorchServe

PATHS = {"tutorial": "/api", "litserve": "/predict", "mosec": "/inference"}
START_SECONDS = 120
LARGEST_BATCH = 32
"""Of the bare engine, which gets as many pairs at a time as there are clients, up to this."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers, and how it is measured with a number of clients for some seconds."""

    name: str
    measure: Callable[[int, float], Measured]
    engine: str | None = None
    """The target that is this one's engine without a server."""


def bare_engine(folder: Path, pairs: Sequence[SentencePair], name: str) -> Target:
    """The bare engine, in this process: encoding and forward passes, nothing else."""
    classifier = Classifier(folder)

    def measure(clients: int, seconds: float) -> Measured:
        size = min(clients, LARGEST_BATCH)
        times: list[float] = []
        position = 0
        process = psutil.Process()
        began, cpu = time.perf_counter(), sum(process.cpu_times()[:2])
        while (now := time.perf_counter()) - began < seconds:
            batch = [pairs[(position + index) % len(pairs)] for index in range(size)]
            results = classifier.engine.probabilities(classifier.encoder.encode(batch))
            if any(isinstance(result, Exception) for result in results):
                raise ConfigurationError(f"{name} failed on a pair")
            position += size
            times.append(time.perf_counter() - now)
        took = time.perf_counter() - began
        p50, p95, p99 = (float(value) * 1000 for value in np.percentile(times, [50, 95, 99]))
        busy = (sum(process.cpu_times()[:2]) - cpu) / took
        memory = process.memory_info().rss / 1e6
        return Measured(clients, len(times) * size, 0, len(times) * size / took, p50, p95, p99, busy, memory)

    return Target(name, measure)


@contextlib.contextmanager
def served(archive: Path, folder: Path, workers: int) -> Iterator[tuple[str, int]]:
    """A TorchServe with so many workers of one archive: its URL and the process above all of its own."""
    with TorchServe(folder, [archive], Ports.free(), workers) as server:
        launcher = server._launcher
        assert launcher is not None
        yield f"{server.url}/predictions/nli", launcher.pid


@contextlib.contextmanager
def peer(name: str, folder: Path, workers: int, log: Path) -> Iterator[tuple[str, int]]:
    """A peer with so many workers of a model: its URL and its process."""
    port = Ports.free().inference
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                f"scripts.bench.peers.{name}",
                str(folder.resolve()),
                str(port),
                str(workers),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=PROJECT,
        )
    try:
        url = f"http://127.0.0.1:{port}{PATHS[name]}"
        session = new_session(url)
        deadline = time.monotonic() + START_SECONDS
        while True:
            if process.poll() is not None:
                raise ConfigurationError(f"{name} ended while starting: {log.read_text()[-300:]}")
            if time.monotonic() > deadline:
                raise ConfigurationError(f"{name} is not ready after {START_SECONDS} s")
            with contextlib.suppress(requests.RequestException):
                pair = {"premise": "가", "hypothesis": "나"}
                if session.post(url, json=pair, timeout=5).ok:
                    break
            time.sleep(0.2)
        yield url, process.pid
    finally:
        family = family_of(process.pid)
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.terminate()
        process.wait(10)
        end_processes(family)
