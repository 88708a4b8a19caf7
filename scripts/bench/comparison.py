"""Measuring each target with each number of clients, in turns."""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from handler.checkpoint import Checkpoint
from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts.bench.load import Measured, measure_load
from scripts.bench.targets import Target, bare_engine, peer, served
from scripts.torchserve.sizing import suitable_workers

PACKAGES = {"tutorial": "flask", "litserve": "litserve", "mosec": "mosec"}
"""What a module of `scripts/peers` needs."""

TUTORIAL = "tutorial (Flask)"


@dataclass(frozen=True, slots=True)
class Row:
    """A target with a number of clients: the median of the rounds, figure by figure."""

    name: str
    measured: Measured
    engine: str | None = None
    """The target that is this one's engine without a server."""


def benchmark(targets: Sequence[Target], clients: Sequence[int], seconds: float, rounds: int) -> list[Row]:
    """Measure each target with each number of clients, in turns, `rounds` times.

    Raises:
        ConfigurationError: a target answered wrongly or not at all.
    """
    for each in targets:  # Java and Python get fast by being used
        each.measure(max(clients), seconds)
    found: dict[tuple[int, str], list[Measured]] = {}
    turns = [(count, each) for _ in range(rounds) for count in clients for each in targets]
    for count, each in tqdm(turns, unit="run", disable=None):
        try:
            measured = each.measure(count, seconds)
        except OSError as error:
            raise ConfigurationError(f"{each.name} failed with {count} clients: {error}") from None
        if measured.wrong or not measured.requests:
            raise ConfigurationError(
                f"{each.name} with {count} clients: {measured.wrong} of {measured.requests} answers are wrong"
            )
        found.setdefault((count, each.name), []).append(measured)
    engines = {each.name: each.engine for each in targets}
    return [Row(name, _median(runs), engines[name]) for (_, name), runs in found.items()]


def generated_pairs(count: int) -> list[SentencePair]:
    """Pairs that are like KLUE's in length, for where there is no data at hand."""
    words = "남자가 여자가 아이가 사람들이 비가 집에서 학교에서 책을 천천히 열심히 어제 읽는다 간다 온다"
    chance = random.Random(0)

    def sentence() -> str:
        return " ".join(chance.choices(words.split(), k=chance.randint(3, 9))) + "."

    return [SentencePair(sentence(), sentence()) for _ in range(count)]


def _median(runs: Sequence[Measured]) -> Measured:
    values = {key: float(np.median([asdict(run)[key] for run in runs])) for key in asdict(runs[0])}
    whole = {key: int(values[key]) for key in ("clients", "requests", "wrong")}
    return Measured(**(values | whole))  # type: ignore[arg-type]


def start_targets(
    arguments: argparse.Namespace, folders: Sequence[Path], pairs: Sequence[SentencePair], stack: ExitStack
) -> tuple[list[Target], dict[str, float]]:
    """Start what is compared, with the unpacked archives; and the seconds until the service was ready."""
    targets: list[Target] = []
    ready: dict[str, float] = {}

    def add(name: str, url: str, pid: int, engine: str | None = None) -> None:
        def measure(clients: int, seconds: float) -> Measured:
            return measure_load(url, pairs, clients, seconds, pid)

        targets.append(Target(name, measure, engine))

    wanted = [name for name in PACKAGES if name not in arguments.without]
    installed = [name for name in wanted if importlib.util.find_spec(PACKAGES[name])]
    for name in wanted:
        if name not in installed:
            print(f"{name} is left out: scripts/setup bench", file=sys.stderr)
    log = folders[0].parent
    if "tutorial" in installed:
        add(TUTORIAL, *stack.enter_context(peer("tutorial", arguments.checkpoint, 1, log / "tutorial.log")))
    for archive, folder in zip(arguments.archive, folders, strict=True):
        precision = Checkpoint.read(folder).precision
        engine = f"bare engine, {precision}"
        targets.append(bare_engine(folder, pairs, engine))
        for workers in arguments.workers or [suitable_workers(archive)]:
            how = f"{precision}, {workers} worker{'s' * (workers > 1)}"
            name = f"this service, {how}"
            began = time.monotonic()
            running = stack.enter_context(served(archive, folder.with_suffix(f".ts{workers}"), workers))
            ready[name] = time.monotonic() - began
            add(name, *running, engine)
            if folder is folders[-1]:
                for each in installed:
                    if each != "tutorial":
                        file = log / f"{each}{workers}.log"
                        add(f"{each}, {how}", *stack.enter_context(peer(each, folder, workers, file)))
    return targets, ready
