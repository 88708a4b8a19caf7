"""200,000 rows and the shipped model on a real Ray: kills, memory, and the cost beside the bare engine's."""

from __future__ import annotations

import importlib.util
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
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
STEP = 19
"""The bare engine is measured on one of so many rows, from all parts: later rows have longer numbers."""


@dataclass(frozen=True)
class Unbroken:
    """A run that nothing disturbed, and what its actors used."""

    archive: Path
    source: Path
    output: Path
    cpu_seconds: float
    memory: list[list[int]]
    """Bytes of each actor, in the order of time."""


@pytest.fixture(autouse=True, scope="module")
def environment() -> Iterator[None]:
    with ray_folder(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk_runs, "PATIENCE", 3600.0)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAYON_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    folder = tmp_path_factory.mktemp("unbroken")
    archive = build_archive(PROJECT / "checkpoints" / "demo", "1.0", folder / "demo.mar", precision="int8")
    source, output = folder / "in", folder / "out"
    total = write_input(source, FILES, ROWS)
    with BulkRun(folder / "run.log", "--archive", archive, "--input", source, "--output", output) as run:
        code, out, errors = run.finish()
    assert code == 0, errors
    assert f"{total} rows, {total} of them in this run" in out
    return Unbroken(archive, source, output, sum(run.cpu.values()), list(run.memory.values()))


def test_200_000_rows_through_kills_are_those_of_an_unbroken_run(unbroken: Unbroken, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments: list[str | Path] = ["--archive", unbroken.archive, "--input", unbroken.source]
    arguments += ["--output", output]
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
    rows = bulk_runs.read_output(output)
    assert [row["id"] for row in rows] == list(range(FILES * ROWS))
    assert all((row["premise"], row["hypothesis"]) == texts(row["id"]) for row in rows)
    for row, whole in zip(rows, bulk_runs.read_output(unbroken.output), strict=True):
        assert (row["prediction"], row["error"]) == (whole["prediction"], whole["error"])
        assert all(row[label] == pytest.approx(whole[label], abs=1e-6) for label in LABELS if row["model"])


def test_a_row_costs_what_the_engine_takes_and_memory_is_flat(
    unbroken: Unbroken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zipfile.ZipFile(unbroken.archive).extractall(tmp_path)
    cost = unbroken.cpu_seconds / (FILES * ROWS)
    # On every core at once, as the actors were: cores that share a processor slow each other down.
    with ProcessPoolExecutor(available_cores(), get_context("spawn")) as pool:
        bare = fmean(pool.map(bare_seconds_a_row, [tmp_path] * available_cores()))
    memory = [each for each in unbroken.memory if len(each) > 20]
    growth = [max(each[len(each) // 2 :]) / max(each[: len(each) // 2]) for each in memory]
    with capsys.disabled():
        print(f"\nCPU a row: {cost * 1e3:.3f} ms, bare engine {bare * 1e3:.3f} ms, {cost / bare:.2f}")
        print(f"memory of actors: {[max(each) >> 20 for each in memory]} MiB, growth {growth}")
    assert growth
    assert max(growth) < 1.1
    assert cost <= 1.1 * bare


def bare_seconds_a_row(folder: Path) -> float:
    """Processor seconds that encoder and engine alone take for a row, without loading."""
    model = ArchiveModel(folder)._model
    numbers = range(0, FILES * ROWS, STEP)
    rows = [texts(number) for number in numbers]
    pairs = [SentencePair(premise, hypothesis) for premise, hypothesis in rows if premise and premise.strip()]
    began = time.process_time()
    for start in range(0, len(pairs), CHUNK):
        model.engine.probabilities(model.encode(pairs[start : start + CHUNK]))
    return (time.process_time() - began) / len(numbers)
