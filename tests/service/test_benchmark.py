"""The benchmark runs, and counts what really was answered; how fast is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handler.request import SentencePair
from scripts import PROJECT
from scripts.bench.comparison import Conditions, Row, TargetError, generated_pairs, measure_in_turns
from scripts.bench.load import Measured, measure_load
from scripts.bench.plan import TUTORIAL
from scripts.bench.report import to_markdown
from scripts.bench.targets import Target
from scripts.torchserve.server import TorchServe
from scripts.torchserve.sizing import suitable_workers


def measured(rate: float, clients: int = 1, wrong: int = 0) -> Measured:
    return Measured(clients, 100, wrong, rate, 2.0, 3.0, 4.0, 1.5, 300)


def server_pid(server: TorchServe) -> int:
    return server.worker_pids()[0]


def test_every_answer_is_counted_and_checked(server: TorchServe) -> None:
    url = f"{server.url}/predictions/nli"
    began = time.monotonic()
    found = measure_load(url, generated_pairs(20), 3, 1.0, server_pid(server))
    assert found.clients == 3
    assert found.wrong == 0
    assert found.requests >= 3
    assert 0 < found.p50_ms <= found.p95_ms <= found.p99_ms
    assert 0.79 < found.requests / found.pairs_per_second < time.monotonic() - began
    assert found.memory_mb > 50


def test_errors_are_wrong_answers(server: TorchServe) -> None:
    url = f"{server.url}/predictions/nli"
    blank = [SentencePair(" ", "비가 온다.")]
    found = measure_load(url, blank, 2, 0.5, server_pid(server))
    assert found.wrong >= found.requests > 0


def test_a_target_that_answers_wrongly_ends_the_benchmark() -> None:
    liar = Target("liar", lambda clients, seconds: measured(1000, clients, wrong=1))  # noqa: ARG005
    with pytest.raises(TargetError, match="liar with 8 clients: 1 of 100"):
        measure_in_turns([liar], [8], 1, 1)


def test_targets_take_turns_and_the_median_counts() -> None:
    rates = {"a": iter([1.0, 50.0, 10.0, 20.0]), "b": iter([1.0, 7.0, 9.0, 8.0])}
    turns: list[str] = []

    def target(name: str) -> Target:
        def measure(clients: int, seconds: float) -> Measured:
            turns.append(name)
            return measured(next(rates[name]), clients)

        return Target(name, measure)

    rows = measure_in_turns([target("a"), target("b")], [8], 1, 3)
    assert turns == list("abababab")  # the first turn warms up
    assert [(row.name, row.measured.pairs_per_second) for row in rows] == [("a", 20.0), ("b", 8.0)]


def test_ratios_come_first_and_compare_with_the_tutorial_at_its_best() -> None:
    rows = [Row(TUTORIAL, measured(5, 1)), Row(TUTORIAL, measured(10, 8))]
    rows += [Row("bare", measured(200, 1)), Row("bare", measured(1000, 8))]
    rows += [Row("service", measured(100, 1), "bare"), Row("service", measured(250, 8), "bare")]
    text = to_markdown(rows, Conditions("m", 5, 30.5, 5, 3, "M", 2, "2026-01-01", {"service": 3.21}))
    assert "3 rounds of 5 s each" in text
    assert "service: ready 3.2 s after its start." in text
    assert text.startswith("Times the pairs a second of the tutorial's way at its best (10.0):")
    assert "| service | 10.0 | 25.0 |" in text
    assert "Percent of the pairs a second of its bare engine:" in text
    assert "| service | 50 | 25 |" in text
    assert "| service | 8 | 250.0 | 2.0 | 3.0 | 4.0 | 1.50 | 300 |" in text


def test_the_command_runs_on_a_real_service(
    tiny_checkpoint: Path, tiny_archive: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(PROJECT / "scripts" / "benchmark.py"), "--rounds", "1"]
    command += ["--clients", "1", "4", "--seconds", "1"]
    command += ["--checkpoint", str(tiny_checkpoint), "--archive", str(tiny_archive)]
    command += ["--without", "litserve", "mosec", "--json", str(tmp_path / "speed.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    workers = suitable_workers(tiny_archive)
    served = f"this service, fp32, {workers} worker{'s' * (workers > 1)}"
    assert f"| {served} | 4 |" in done.stdout
    content = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    names = {row["name"] for row in content["rows"]}
    assert {"bare engine, fp32", served} <= names
    assert all(row["wrong"] == 0 and row["requests"] > 0 for row in content["rows"])
