"""Folders of files on a real Ray: every row once, in order, whatever is killed on the way."""

from __future__ import annotations

import csv
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.pairs.classification import classify_file
from scripts.pairs.client import Client
from scripts.pairs.reader import PairFile
from tests.service.bulk_runs import (
    LABELS,
    SECRET,
    BulkRun,
    parts,
    ray_folder,
    read_output,
    texts,
    two_nodes,
    write_input,
)

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("ray", "pyarrow"))), reason="scripts/setup bulk installs Ray"
)

FILES, ROWS = 24, 250


@pytest.fixture(autouse=True, scope="module")
def logs() -> Iterator[Path]:
    with ray_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bulk") / "입력, 1"
    write_input(folder, FILES, ROWS)
    return folder


@pytest.fixture(scope="module")
def expected(url: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What classify.py writes for the same rows."""
    folder = tmp_path_factory.mktemp("classified")
    with (folder / "in.csv").open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["id", "premise", "hypothesis"])
        writer.writerows([number, *texts(number)] for number in range(FILES * ROWS))
    with Client(url) as client:
        classify_file(PairFile.survey(folder / "in.csv"), folder / "out.csv", client)
    with (folder / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def check(rows: list[dict[str, Any]], expected: list[dict[str, str]]) -> None:
    assert [row["id"] for row in rows] == [int(each["id"]) for each in expected]
    for row, each in zip(rows, expected, strict=True):
        assert (row["premise"], row["hypothesis"]) == texts(row["id"])
        if row["premise"] is None:  # which a CSV has no way to say
            assert (row["error"], each["error"]) == ("premise is missing", "premise is blank")
            continue
        assert [row[name] or "" for name in ("prediction", "model", "error")] == [
            each[name] for name in ("prediction", "model", "error")
        ]
        for label in LABELS:
            # Both are rounded to six digits.
            assert row[label] == (pytest.approx(float(each[label]), abs=1.5e-6) if each[label] else None)


@dataclass(frozen=True)
class Killed:
    """A run whose actor was killed, then its driver, and that was given again."""

    output: Path
    done_before: int
    said: str


@pytest.fixture(scope="module")
def killed(source: Path, tiny_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder = tmp_path_factory.mktemp("killed")
    output = folder / "출력"
    arguments: list[str | Path] = ["--archive", tiny_archive, "--input", source, "--output", output]
    with BulkRun(folder / "first.log", *arguments) as run:
        run.until(lambda: parts(output) and run.actors(), "an actor at work")
        run.actors()[0].kill()
        reached = parts(output)
        run.until(lambda: parts(output) > reached + 2, "another part")
        run.kill()
    done = parts(output)
    assert 0 < done < FILES, "it was killed on its way"
    with BulkRun(folder / "second.log", *arguments) as run:
        code, out, errors = run.finish()
    assert code == 0, errors
    return Killed(output, done, out)


def test_a_killed_actor_and_a_killed_driver_cost_no_row_and_double_none(
    killed: Killed, expected: list[dict[str, str]]
) -> None:
    left = (FILES - killed.done_before) * ROWS
    assert f"{FILES * ROWS} rows, {left} of them in this run" in killed.said
    check(read_output(killed.output), expected)
    assert {each.name for each in killed.output.iterdir()} == {"manifest.json", "parts"}


def run_to_end(folder: Path, *arguments: str | Path) -> tuple[int, str, str]:
    with BulkRun(folder / "run.log", *arguments) as run:
        return run.finish()


def test_a_check_reads_every_row_and_finds_a_changed_one(
    killed: Killed, source: Path, tiny_archive: Path, tmp_path: Path
) -> None:
    arguments: list[str | Path] = ["--archive", tiny_archive, "--input", source, "--output"]
    code, out, errors = run_to_end(tmp_path, *arguments, killed.output, "--check")
    assert code == 0, errors
    assert f"{FILES * ROWS} rows" in out
    copy = tmp_path / "copy"
    shutil.copytree(killed.output, copy)
    names = sorted(each.name for each in (copy / "parts").iterdir())
    shutil.copy(copy / "parts" / names[3], copy / "parts" / names[7])  # rows twice, and others lost
    code, out, errors = run_to_end(tmp_path, *arguments, copy, "--check")
    assert code == 1
    assert names[7] in errors.splitlines()[-1]
    # The same command without --check mends it.
    code, out, errors = run_to_end(tmp_path, *arguments, copy)
    assert code == 0, errors
    assert f"{ROWS} of them in this run" in out
    assert repr(read_output(copy)) == repr(read_output(killed.output))  # as NaN equals nothing


def test_a_changed_input_and_another_model_are_refused(
    killed: Killed, source: Path, tiny_archive: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(source, changed)
    shutil.copy(changed / "0001.parquet", changed / "0002.parquet")
    code, _, errors = run_to_end(
        tmp_path, "--archive", tiny_archive, "--input", changed, "--output", killed.output
    )
    assert (code, "0002.parquet" in errors.splitlines()[-1]) == (1, True)
    other = tmp_path / "other.mar"
    rewrite(tiny_archive, other, "handler/request.py", "is blank", "is empty")
    code, _, errors = run_to_end(tmp_path, "--archive", other, "--input", source, "--output", killed.output)
    assert (code, "another archive" in errors.splitlines()[-1]) == (1, True)


def test_a_lost_node_more_actors_than_cores_and_relative_paths_cost_nothing(
    source: Path, tiny_archive: Path, expected: list[dict[str, str]], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    arguments: list[str | Path] = [
        "--archive",
        os.path.relpath(tiny_archive, tmp_path),
        "--input",
        os.path.relpath(source, tmp_path),
        "--output",
        output.name,
        "--workers",
        "5",
    ]
    with two_nodes() as (address, lose):
        without = os.environ | {"RAY_AUTH_TOKEN": "guessed"}
        stranger = f"import ray; ray.init({address!r}, log_to_driver=False); print('let in')"
        refused = subprocess.Popen(
            [sys.executable, "-c", stranger], env=without, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        with BulkRun(tmp_path / "run.log", *arguments, "--address", address, folder=tmp_path) as run:
            run.until(lambda: parts(output) > 1, "two parts")
            lose()
            assert parts(output) < FILES, "it was lost on the way"
            code, out, errors = run.finish()
        refused.kill()  # as it goes on trying for minutes
        assert b"let in" not in refused.communicate()[0]
    assert code == 0, errors
    assert f"{FILES * ROWS} rows, {FILES * ROWS} of them in this run" in out
    check(read_output(output), expected)


def test_no_text_of_users_is_in_what_ray_logs(
    killed: Killed, logs: Path, tiny_archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text(f"{SECRET},해\n{SECRET},비\n", encoding="utf-8")
    code, _, errors = run_to_end(
        tmp_path, "--archive", tiny_archive, "--input", tmp_path / "in", "--output", tmp_path / "out"
    )
    assert (code, "no known column" in errors, SECRET in errors) == (1, True, False)
    files = [file for file in logs.rglob("*") if file.is_file() and file.suffix in {".log", ".out", ".err"}]
    assert len(files) > 5
    assert not [file for file in files if SECRET.encode() in file.read_bytes()]


def rewrite(archive: Path, target: Path, name: str, before: str, after: str) -> None:
    """Copy an archive with one file changed."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
        for each in old.namelist():
            content = old.read(each)
            if each == name:
                assert before.encode() in content
                content = content.replace(before.encode(), after.encode())
            new.writestr(each, content)


def test_an_actor_uses_the_archives_own_handler(tiny_archive: Path, tmp_path: Path) -> None:
    rewrite(tiny_archive, tmp_path / "a.mar", "handler/request.py", "is blank", "is empty")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.csv").write_text("premise,hypothesis\n ,비\n", encoding="utf-8")
    # Files without rows, as other programs write them, are no fault.
    (tmp_path / "in" / "a.csv").write_text("premise,hypothesis\n", encoding="utf-8")
    (tmp_path / "in" / "c.csv").touch()
    code, _, errors = run_to_end(
        tmp_path, "--archive", tmp_path / "a.mar", "--input", tmp_path / "in", "--output", tmp_path / "out"
    )
    assert code == 0, errors
    (part,) = (tmp_path / "out" / "parts").iterdir()
    assert part.read_text(encoding="utf-8-sig").splitlines()[1].endswith(",premise is empty")


def test_a_file_that_can_not_be_read_is_one_line(tiny_archive: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("premise,hypothesis\n해,비\n", encoding="utf-8")
    (tmp_path / "in" / "b.parquet").write_bytes(b"PAR1")
    code, out, errors = run_to_end(
        tmp_path, "--archive", tiny_archive, "--input", tmp_path / "in", "--output", tmp_path / "out"
    )
    assert (code, out) == (1, "")
    assert errors.splitlines()[-1].startswith("error: b.parquet")
    assert "Traceback" not in errors
    assert not (tmp_path / "out").exists()
