"""200,000 rows and the shipped model on a real Ray: kills, memory, and the cost beside the bare engine's."""

from __future__ import annotations

import importlib.util
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

import pytest

from handler.engine import available_cores
from handler.request import SentencePair
from scripts import PROJECT
from scripts.bulk.model import CHUNK, ArchiveModel
from scripts.model.archive import build_archive
from tests.service import bulk_runs
from tests.service.bulk_runs import LABELS, BulkRun, parts, ray_folder, texts, two_nodes, write_input

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("ray", "pyarrow"))), reason="scripts/setup bulk installs Ray"
    ),
]

FILES, ROWS = 20, 10_000
MEASURED = 10_000
"""Rows with which the bare engine is measured."""


def test_200_000_rows_through_kills_cost_what_the_engine_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bulk_runs, "PATIENCE", 3600.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    archive = build_archive(PROJECT / "checkpoints" / "demo", "1.0", tmp_path / "demo.mar", precision="int8")
    source, output = tmp_path / "in", tmp_path / "out"
    total = write_input(source, FILES, ROWS)
    arguments: list[str | Path] = ["--archive", archive, "--input", source, "--output", output]
    with ray_folder():
        with BulkRun(tmp_path / "first.log", *arguments) as run:
            run.until(lambda: parts(output) > 1 and run.actors(), "an actor at work")
            run.actors()[0].kill()
            reached = parts(output)
            run.until(lambda: parts(output) > reached + 2, "more parts")
            run.kill()
        done = parts(output)
        with (
            two_nodes() as (address, lose),
            BulkRun(tmp_path / "second.log", *arguments, "--address", address) as run,
        ):
            run.until(lambda: parts(output) > done + 1, "more parts")
            lose()
            code, _, errors = run.finish()
        assert code == 0, errors
        again = tmp_path / "whole"
        with BulkRun(tmp_path / "whole.log", *arguments[:-1], again) as run:
            code, out, errors = run.finish()
        assert code == 0, errors
        assert f"{total} rows, {total} of them in this run" in out
        cost = sum(run.cpu.values()) / total
        memory = [each for each in run.memory.values() if len(each) > 20]
    rows = bulk_runs.read_output(output)
    assert [row["id"] for row in rows] == list(range(total))
    assert all((row["premise"], row["hypothesis"]) == texts(row["id"]) for row in rows)
    unbroken = bulk_runs.read_output(again)
    for row, whole in zip(rows, unbroken, strict=True):
        assert (row["prediction"], row["error"]) == (whole["prediction"], whole["error"])
        assert all(row[label] == pytest.approx(whole[label], abs=1e-6) for label in LABELS if row["model"])
    growth = [max(each[len(each) // 2 :]) / max(each[: len(each) // 2]) for each in memory]
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(archive).extractall(unpacked)
    # On every core at once, as the actors were: cores that share a processor slow each other down.
    with ProcessPoolExecutor(available_cores(), get_context("spawn")) as pool:
        bare = fmean(pool.map(bare_seconds, [unpacked] * available_cores())) / MEASURED
    with capsys.disabled():
        print(f"\nCPU a row: {cost * 1e3:.3f} ms, bare engine {bare * 1e3:.3f} ms, {cost / bare:.2f}")
        print(f"memory of actors: {[max(each) >> 20 for each in memory]} MiB, growth {growth}")
    assert growth
    assert max(growth) < 1.1
    assert cost <= 1.1 * bare


def bare_seconds(folder: Path) -> float:
    """Processor seconds of encoder and engine alone, without loading, for rows of the same kind."""
    model = ArchiveModel(folder)._model
    pairs = []
    for number in range(MEASURED + MEASURED // 50):
        premise, hypothesis = texts(number)
        if premise and premise.strip():
            pairs.append(SentencePair(premise, hypothesis))
    began = time.process_time()
    for start in range(0, MEASURED, CHUNK):
        model.engine.probabilities(model.encode(pairs[start : min(start + CHUNK, MEASURED)]))
    return time.process_time() - began
