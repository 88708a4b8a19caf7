"""Measuring each target with each number of clients, in turns."""

from __future__ import annotations

import contextlib
import os
import platform
import random
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from tqdm import tqdm

from handler.checkpoint import Checkpoint
from handler.encoding import PairEncoder
from handler.errors import ServiceError
from handler.request import SentencePair
from scripts.bench.load import Measured
from scripts.bench.plan import Plan
from scripts.bench.targets import Target


class TargetError(ServiceError):
    """A target answered wrongly or not at all."""


@dataclass(frozen=True, slots=True)
class Row:
    """A target with a number of clients: the median of the rounds, figure by figure."""

    name: str
    measured: Measured
    engine: str | None = None
    """Name of the target that is this one's engine without a server."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions under which a benchmark ran."""

    model: str
    pairs: int
    tokens: float
    """Average number of tokens of a pair."""
    seconds: float
    """Length of each measurement."""
    rounds: int
    machine: str
    cores: int
    date: str
    ready: dict[str, float]
    """Seconds from start until ready, by name of the service."""


def compare(
    plan: Plan, pairs: Sequence[SentencePair], clients: Sequence[int], seconds: float, rounds: int
) -> tuple[list[Row], Conditions]:
    """Start what a plan says, and measure it.

    Raises:
        ServiceError: a target doesn't start, or answers wrongly.
    """
    checkpoint = Checkpoint.read(plan.checkpoint)
    encoded = PairEncoder.from_folder(checkpoint.folder, checkpoint.max_seq_length).encode(pairs)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        targets, ready = plan.start(scratch, pairs, stack)
        rows = measure_in_turns(targets, clients, seconds, rounds)
    conditions = Conditions(
        model=checkpoint.name,
        pairs=len(pairs),
        tokens=float(np.mean([len(pair.input_ids) for pair in encoded])),
        seconds=seconds,
        rounds=rounds,
        machine=_processor(),
        cores=os.cpu_count() or 1,
        date=datetime.now(UTC).date().isoformat(),
        ready=ready,
    )
    return rows, conditions


def measure_in_turns(
    targets: Sequence[Target], clients: Sequence[int], seconds: float, rounds: int
) -> list[Row]:
    """Measure each target with each number of clients, in turns, `rounds` times.

    Raises:
        TargetError: a target answered wrongly or not at all.
    """
    for each in targets:  # Java and Python get fast by being used
        each.measure(max(clients), seconds)
    found: dict[tuple[int, str], list[Measured]] = {}
    turns = [(count, each) for _ in range(rounds) for count in clients for each in targets]
    for count, each in tqdm(turns, unit="run", disable=None):
        try:
            measured = each.measure(count, seconds)
        except (OSError, EOFError, ValueError) as error:
            raise TargetError(f"{each.name} failed with {count} clients: {error}") from None
        if measured.wrong or not measured.requests:
            raise TargetError(
                f"{each.name} with {count} clients: {measured.wrong} of {measured.requests} answers are wrong"
            )
        found.setdefault((count, each.name), []).append(measured)
    engines = {each.name: each.engine for each in targets}
    return [Row(name, _median(runs), engines[name]) for (_, name), runs in found.items()]


def generated_pairs(count: int) -> list[SentencePair]:
    """Pairs of about the length of KLUE's, for use without a data set."""
    words = "남자가 여자가 아이가 사람들이 비가 집에서 학교에서 책을 천천히 열심히 어제 읽는다 간다 온다"
    chance = random.Random(0)

    def sentence() -> str:
        return " ".join(chance.choices(words.split(), k=chance.randint(3, 9))) + "."

    return [SentencePair(sentence(), sentence()) for _ in range(count)]


def _median(runs: Sequence[Measured]) -> Measured:
    values = {key: float(np.median([asdict(run)[key] for run in runs])) for key in asdict(runs[0])}
    whole = {key: int(values[key]) for key in ("clients", "requests", "wrong")}
    return Measured(**(values | whole))  # type: ignore[arg-type]


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()
