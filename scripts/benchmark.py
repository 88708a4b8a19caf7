"""Compare this service with the tutorial's way, its own bare engine and other servers, in one run."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import random
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests
from tqdm import tqdm

from handler.checkpoint import Checkpoint
from handler.encoding import PairEncoder
from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts.benchmark_load import Measured, measure_load
from scripts.command_line import argument_parser, run
from scripts.files.labelled_pairs import read_labelled_pairs
from scripts.peers.classifier import Classifier
from scripts.running.processes import end as end_processes
from scripts.running.processes import family_of
from scripts.running.server import Ports, TorchServe

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = {"tutorial": "flask", "litserve": "litserve", "mosec": "mosec"}
"""What a module of `scripts/peers` needs."""

PATHS = {"tutorial": "/api", "litserve": "/predict", "mosec": "/inference"}
START_SECONDS = 120
TUTORIAL = "tutorial (Flask)"
BARE = "bare engine, "
SERVICE = "this service, "
LARGEST_BATCH = 32
"""Of the bare engine, which gets as many pairs at a time as there are clients, up to this."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something that answers, and how it is measured with a number of clients for some seconds."""

    name: str
    measure: Callable[[int, float], Measured]


@dataclass(frozen=True, slots=True)
class Row:
    """A contestant with a number of clients: the median of the rounds, figure by figure."""

    name: str
    measured: Measured


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
    return [Row(name, _median(runs)) for (_, name), runs in found.items()]


def to_markdown(rows: Sequence[Row], seconds: float, rounds: int, about: dict[str, Any]) -> str:
    """The result for people: ratios first."""
    names = list(dict.fromkeys(row.name for row in rows))
    clients = sorted({row.measured.clients for row in rows})
    by_key = {(row.name, row.measured.clients): row.measured for row in rows}
    heads = " | ".join(f"{count} client{'s' * (count > 1)}" for count in clients)
    lines = []
    if TUTORIAL in names:
        best = max(by_key[TUTORIAL, count].pairs_per_second for count in clients)
        lines += [f"Times the pairs a second of the tutorial's way at its best ({best:.1f}):", ""]
        lines += [f"| | {heads} |", "|---|" + "--:|" * len(clients)]
        for name in names:
            ratios = (by_key[name, count].pairs_per_second / best for count in clients)
            lines.append(f"| {name} | {' | '.join(f'{ratio:.1f}' for ratio in ratios)} |")
        lines.append("")
    bare = {name.removeprefix(BARE): name for name in names if name.startswith(BARE)}
    served = [name for name in names if name.startswith(SERVICE)]
    if bare and served:
        lines += ["Percent of the pairs a second of its bare engine:", ""]
        lines += [f"| | {heads} |", "|---|" + "--:|" * len(clients)]
        for name in served:
            engine = bare[name.removeprefix(SERVICE).split(";")[0]]
            shares = (
                100 * by_key[name, count].pairs_per_second / by_key[engine, count].pairs_per_second
                for count in clients
            )
            lines.append(f"| {name} | {' | '.join(f'{share:.0f}' for share in shares)} |")
        lines.append("")
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


def _engine(folder: Path, pairs: Sequence[SentencePair], name: str) -> Contestant:
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

    return Contestant(name, measure)


@contextlib.contextmanager
def _served(archive: Path, folder: Path, workers: int | None) -> Iterator[tuple[str, int]]:
    """A TorchServe with one archive: its URL and the process above all of its own."""
    with TorchServe(folder, [archive], Ports.free(), workers) as server:
        launcher = server._launcher
        assert launcher is not None
        yield f"{server.url}/predictions/nli", launcher.pid


@contextlib.contextmanager
def _peer(name: str, folder: Path, log: Path) -> Iterator[tuple[str, int]]:
    """A peer with a model: its URL and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", f"scripts.peers.{name}", str(folder.resolve()), str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=PROJECT,
        )
    try:
        url = f"http://127.0.0.1:{port}{PATHS[name]}"
        deadline = time.monotonic() + START_SECONDS
        while True:
            if process.poll() is not None:
                raise ConfigurationError(f"{name} ended while starting: {log.read_text()[-300:]}")
            if time.monotonic() > deadline:
                raise ConfigurationError(f"{name} is not ready after {START_SECONDS} s")
            with contextlib.suppress(requests.RequestException):
                pair = {"premise": "가", "hypothesis": "나"}
                if requests.post(url, json=pair, timeout=5).ok:
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
        default=[None],
        help="of the service; several are compared (default: what the archive says)",
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
    contestants: list[Contestant] = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))

        def add(name: str, url: str, pid: int) -> None:
            contestants.append(
                Contestant(name, lambda clients, seconds: measure_load(url, pairs, clients, seconds, pid))
            )

        skipped = set(arguments.without)
        for name in PACKAGES:
            if name not in skipped and not importlib.util.find_spec(PACKAGES[name]):
                print(f"{name} is left out: pip install -r requirements-bench.txt", file=sys.stderr)
                skipped.add(name)
        if "tutorial" not in skipped:
            add(
                TUTORIAL,
                *stack.enter_context(_peer("tutorial", arguments.checkpoint, scratch / "tutorial.log")),
            )
        tokens = 0.0
        ready: dict[str, float] = {}
        for index, archive in enumerate(arguments.archive):
            folder = scratch / f"model{index}"
            with zipfile.ZipFile(archive) as content:
                content.extractall(folder)
            checkpoint = Checkpoint.read(folder)
            precision = checkpoint.precision
            contestants.append(_engine(folder, pairs, f"{BARE}{precision}"))
            encoded = PairEncoder.from_folder(folder, checkpoint.max_seq_length).encode(pairs)
            tokens = float(np.mean([len(pair.input_ids) for pair in encoded]))
            for workers in arguments.workers:
                name = f"{SERVICE}{precision}" + (
                    f"; {workers} worker{'s' * (workers > 1)}" if workers else ""
                )
                home = scratch / f"ts{index}-{workers or 0}"
                began = time.monotonic()
                served = stack.enter_context(_served(archive, home, workers))
                ready[name] = time.monotonic() - began
                add(name, *served)
            if archive is arguments.archive[-1]:
                for name in ("litserve", "mosec"):
                    if name not in skipped:
                        log = scratch / f"{name}.log"
                        add(f"{name}, {precision}", *stack.enter_context(_peer(name, folder, log)))
        about = {
            "model": checkpoint.name,
            "pairs": len(pairs),
            "tokens": tokens,
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


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(run(main))
