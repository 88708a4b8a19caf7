"""Compare this service with the tutorial's way, its own bare engine and other servers, in one run."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import random
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from handler.checkpoint import Checkpoint
from handler.encoding import PairEncoder
from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts.benchmark_contestants import Contestant, bare_engine, peer, served
from scripts.benchmark_load import Measured, measure_load
from scripts.command_line import argument_parser, run
from scripts.files.labelled_pairs import read_labelled_pairs
from scripts.running.sizing import suitable_workers

PACKAGES = {"tutorial": "flask", "litserve": "litserve", "mosec": "mosec"}
"""What a module of `scripts/peers` needs."""

TUTORIAL = "tutorial (Flask)"


@dataclass(frozen=True, slots=True)
class Row:
    """A contestant with a number of clients: the median of the rounds, figure by figure."""

    name: str
    measured: Measured
    engine: str | None = None
    """The contestant that is this one's engine without a server."""


def benchmark(
    contestants: Sequence[Contestant], clients: Sequence[int], seconds: float, rounds: int
) -> list[Row]:
    """Measure each contestant with each number of clients, in turns, `rounds` times.

    Raises:
        ConfigurationError: a contestant answered wrongly or not at all.
    """
    for each in contestants:  # Java and Python get fast by being used
        each.measure(max(clients), seconds)
    found: dict[tuple[int, str], list[Measured]] = {}
    turns = [(count, each) for _ in range(rounds) for count in clients for each in contestants]
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
    engines = {each.name: each.engine for each in contestants}
    return [Row(name, _median(runs), engines[name]) for (_, name), runs in found.items()]


def to_markdown(rows: Sequence[Row], seconds: float, rounds: int, about: dict[str, Any]) -> str:
    """The result for people: ratios first."""
    names = list(dict.fromkeys(row.name for row in rows))
    clients = sorted({row.measured.clients for row in rows})
    by_key = {(row.name, row.measured.clients): row.measured for row in rows}

    def rate(name: str, count: int) -> float:
        return by_key[name, count].pairs_per_second

    def ratios(title: str, shown: Sequence[str], value: Callable[[str, int], str]) -> list[str]:
        heads = " | ".join(f"{count} client{'s' * (count > 1)}" for count in clients)
        table = [f"{title}:", "", f"| | {heads} |", "|---|" + "--:|" * len(clients)]
        for name in shown:
            table.append(f"| {name} | {' | '.join(value(name, count) for count in clients)} |")
        return [*table, ""]

    lines = []
    if TUTORIAL in names:
        best = max(rate(TUTORIAL, count) for count in clients)
        title = f"Times the pairs a second of the tutorial's way at its best ({best:.1f})"
        lines += ratios(title, names, lambda name, count: f"{rate(name, count) / best:.1f}")
    engine = {row.name: row.engine for row in rows if row.engine in names}
    if engine:
        lines += ratios(
            "Percent of the pairs a second of its bare engine",
            list(engine),
            lambda name, count: f"{100 * rate(name, count) / rate(engine[name] or '', count):.0f}",
        )
    lines += ["| | clients | pairs/s | p50 ms | p95 ms | p99 ms | cores | memory MB |"]
    lines += ["|---|--:|--:|--:|--:|--:|--:|--:|"]
    for count in clients:
        for name in names:
            one = by_key[name, count]
            lines.append(
                f"| {name} | {count} | {one.pairs_per_second:.1f} | {one.p50_ms:.1f} | {one.p95_ms:.1f} "
                f"| {one.p99_ms:.1f} | {one.cpu:.2f} | {one.memory_mb:.0f} |"
            )
    how = f"{rounds} rounds of {seconds:g} s each, in turns; median of the rounds"
    lines += [
        "",
        f"{about['model']}, {about['pairs']} pairs of {about['tokens']:.0f} tokens on average; {how}.",
    ]
    lines += [f"{about['machine']}, {about['cores']} cores, {about['date']}."]
    lines += [f"{name}: ready {took:.1f} s after its start." for name, took in about["ready"].items()]
    return "\n".join(lines)


def draw(rows: Sequence[Row], file: Path) -> None:
    """Plot pairs a second over clients, as SVG.

    Raises:
        ConfigurationError: matplotlib isn't installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise ConfigurationError("a plot needs: pip install -r requirements-bench.txt") from None
    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for name in dict.fromkeys(row.name for row in rows):
        points = sorted(
            (row.measured.clients, row.measured.pairs_per_second) for row in rows if row.name == name
        )
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    ticks = sorted({row.measured.clients for row in rows})
    axes.set(xscale="log", yscale="log", xlabel="clients", ylabel="pairs a second")
    axes.set_xticks(ticks, [str(count) for count in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(file)
    pyplot.close(figure)


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


def main() -> int:
    """Read the arguments, start what is measured, measure, and write the results."""
    parser = argument_parser(
        __doc__ or "",
        "python scripts/benchmark.py --checkpoint checkpoints/demo --archive model_store/nli-1.0.mar",
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="converted, for the tutorial's way")
    parser.add_argument(
        "--archive",
        type=Path,
        action="append",
        required=True,
        help="of that model; repeat for each precision",
    )
    parser.add_argument("--data", type=Path, help="pairs to ask, such as KLUE's; default: generated ones")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 64], help="(1 8 32 64)")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement (5)")
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    parser.add_argument(
        "--workers",
        type=int,
        nargs="+",
        help="of the service and its peers; several are compared (default: as scripts/serve does)",
    )
    parser.add_argument("--without", nargs="+", default=[], choices=[*PACKAGES], help="what to leave out")
    parser.add_argument(
        "--quick", action="store_true", help="1 and 4 clients, one round of 1 s: does it run?"
    )
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--plot", type=Path, help="draw an SVG here")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.clients, arguments.seconds, arguments.rounds = [1, 4], 1.0, 1
    rows = read_labelled_pairs(arguments.data) if arguments.data else []
    pairs = [row.pair for row in random.Random(0).sample(rows, min(1000, len(rows)))] or generated_pairs(1000)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        folders = [scratch / f"model{index}" for index in range(len(arguments.archive))]
        for archive, folder in zip(arguments.archive, folders, strict=True):
            with zipfile.ZipFile(archive) as content:
                content.extractall(folder)
        contestants, ready = _start(arguments, folders, pairs, stack)
        checkpoint = Checkpoint.read(folders[-1])
        encoded = PairEncoder.from_folder(folders[-1], checkpoint.max_seq_length).encode(pairs)
        about = {
            "model": checkpoint.name,
            "pairs": len(pairs),
            "tokens": float(np.mean([len(pair.input_ids) for pair in encoded])),
            "machine": _processor(),
            "cores": os.cpu_count(),
            "date": datetime.now(UTC).date().isoformat(),
            "ready": ready,
        }
        found = benchmark(contestants, arguments.clients, arguments.seconds, arguments.rounds)
    print(to_markdown(found, arguments.seconds, arguments.rounds, about))
    if arguments.json:
        content_ = {"about": about, "rows": [{"name": row.name} | asdict(row.measured) for row in found]}
        arguments.json.write_text(json.dumps(content_, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if arguments.plot:
        draw(found, arguments.plot)
    return 0


def _start(
    arguments: argparse.Namespace, folders: Sequence[Path], pairs: Sequence[SentencePair], stack: ExitStack
) -> tuple[list[Contestant], dict[str, float]]:
    """Start what is compared, with the unpacked archives; and the seconds until the service was ready."""
    contestants: list[Contestant] = []
    ready: dict[str, float] = {}

    def add(name: str, url: str, pid: int, engine: str | None = None) -> None:
        def measure(clients: int, seconds: float) -> Measured:
            return measure_load(url, pairs, clients, seconds, pid)

        contestants.append(Contestant(name, measure, engine))

    wanted = [name for name in PACKAGES if name not in arguments.without]
    installed = [name for name in wanted if importlib.util.find_spec(PACKAGES[name])]
    for name in wanted:
        if name not in installed:
            print(f"{name} is left out: pip install -r requirements-bench.txt", file=sys.stderr)
    log = folders[0].parent
    if "tutorial" in installed:
        add(TUTORIAL, *stack.enter_context(peer("tutorial", arguments.checkpoint, 1, log / "tutorial.log")))
    for archive, folder in zip(arguments.archive, folders, strict=True):
        precision = Checkpoint.read(folder).precision
        engine = f"bare engine, {precision}"
        contestants.append(bare_engine(folder, pairs, engine))
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
    return contestants, ready


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(run(main))
