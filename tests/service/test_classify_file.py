"""Files through a real service: every row once, in order, whatever happens on the way."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from handler.request import SentencePair
from scripts import PROJECT
from scripts.pairs.classification import PAIRS, classify_file
from scripts.pairs.client import Client, ServiceUnreachableError
from scripts.pairs.reader import PairFile
from scripts.torchserve.server import Ports, TorchServe
from tests.service.faults import between

COLUMNS = ["번호", "전제", "가설"]
LABELS = ["entailment", "contradiction", "neutral"]
ENOUGH = 100
"""Requests after which rows are surely recorded: the first 32 rows and those that may be sent meanwhile, 256
in all, take fewer, also where a row is refused and the others are sent in halves."""
WORDS = ["비가", "온다.", "남자가", "책을", "읽는다.", "여자가", '"날씨가"', "맑다,\n", "없다.", "있다."]


def row(number: int) -> list[str]:
    texts = [" ".join(WORDS[(number * 7 + n * n * k) % 10] for n in range(1 + number % 9)) for k in (3, 5)]
    if number % 50 == 7:
        texts[0] = " "
    if number % 60 == 9:
        texts[1] = "비" * 50_001
    return [str(number), *texts]


def write_csv(file: Path, rows: int, encoding: str = "cp949") -> Path:
    with file.open("w", encoding=encoding, newline="") as target:
        csv.writer(target).writerows([COLUMNS, *(row(number) for number in range(rows))])
    return file


def read_csv(file: Path) -> list[dict[str, str]]:
    raw = file.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf"), "Excel takes UTF-8 for CP949 without it"
    return list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline="")))


def command(source: Path, output: Path, url: str, *options: str) -> list[str]:
    script = str(PROJECT / "scripts" / "classify.py")
    arguments = ["--input", str(source), "--output", str(output), "--url", url, *options]
    return [sys.executable, script, *arguments]


def recorded_rows(output: Path) -> int:
    progress = output.with_name(f"{output.name}.progress")
    return int(json.loads(progress.read_text(encoding="utf-8"))["rows"]) if progress.exists() else 0


def wait_for_rows(output: Path, more_than: int, running: subprocess.Popen[Any]) -> int:
    """Wait until a run that can't end yet has recorded more rows, and say how many."""
    deadline = time.monotonic() + 120
    while (rows := recorded_rows(output)) <= more_than:
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return rows


def check(rows: list[dict[str, str]], count: int) -> None:
    """Each input row is there once, in order, with a prediction or the reason why there is none."""
    assert [[each[name] for name in COLUMNS] for each in rows] == [row(number) for number in range(count)]
    for number, each in enumerate(rows):
        if number % 60 == 9 or number % 50 == 7:
            assert not each["prediction"]
            expected = "premise is blank" if number % 50 == 7 else "hypothesis has 50001 characters"
            assert expected in each["error"]
        else:
            assert each["prediction"] == max(LABELS, key=lambda label: float(each[label]))
            assert sum(float(each[label]) for label in LABELS) == pytest.approx(1, abs=1e-5)
            assert (each["model"], each["error"]) == ("tiny 1.0", "")


def predictions(rows: list[dict[str, str]]) -> list[list[Any]]:
    """Rows to compare: what shares a batch moves a probability in its last digits."""
    return [
        [
            value if name not in LABELS or not value else pytest.approx(float(value), abs=2e-6)
            for name, value in each.items()
        ]
        for each in rows
    ]


def test_a_file_is_classified_as_its_pairs_are_one_by_one(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "문장, 쌍"
    folder.mkdir()
    source = write_csv(folder / "한글 $HOME, '100%'.csv", 140)
    output = folder / "결과, 1.csv"
    # A proxy that nobody listens at: requests to this machine don't go through it.
    environment = os.environ | {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        command(source, output, url), env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    rows = read_csv(output)
    check(rows, 140)
    with Client(url) as client:
        for number in (0, 1, 33, 139):
            (alone,) = client.classify([SentencePair(*row(number)[1:])])
            for label in LABELS:
                assert float(rows[number][label]) == pytest.approx(alone["probabilities"][label], abs=2e-6)
            assert rows[number]["truncated"] == str(alone["truncated"]).lower()
    assert {each.name for each in folder.iterdir()} == {source.name, output.name}
    # The summary says what the file holds.
    counted = Counter(each["prediction"] or "errors" for each in rows)
    figures = {words[0]: int(words[1]) for line in done.stdout.splitlines()[1:] if (words := line.split())}
    assert figures == dict(counted) | {"truncated": sum(each["truncated"] == "true" for each in rows)} | {
        label: counted[label] for label in LABELS
    }
    assert "140 rows, 140 of them in this run" in done.stdout


def test_json_lines_keep_what_else_a_row_holds(url: str, tmp_path: Path) -> None:
    cells: list[dict[str, Any]] = [
        {"id": 1, "sentence1": "비가 온다.", "sentence2": "해가 뜬다.", "tags": ["a", {"b": None}]},
        {"id": 2, "sentence1": "비가 온다."},
        {"sentence1": "\ud800", "sentence2": "해"},
    ]
    (tmp_path / "in.json").write_text(json.dumps(cells), encoding="utf-8")
    source = PairFile.survey(tmp_path / "in.json")
    with Client(url) as client:
        summary = classify_file(source, tmp_path / "out.jsonl", client)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [{key: each[key] for key in one} for each, one in zip(rows, cells, strict=True)] == cells
    assert [each["error"] for each in rows] == [
        None,
        "hypothesis is missing",
        "premise has a lone surrogate at character 0",
    ]
    assert rows[0]["prediction"] in LABELS
    assert (summary.rows, summary.errors, sum(summary.labels.values())) == (3, 2, 1)
    with Client(url) as client:
        classify_file(source, tmp_path / "out.csv", client)
    assert read_csv(tmp_path / "out.csv")[0]["tags"] == '["a", {"b": null}]'


def test_a_run_that_is_killed_twice_ends_as_an_unbroken_one(
    server: TorchServe, url: str, tmp_path: Path
) -> None:
    count = 3000
    source = write_csv(tmp_path / "pairs.csv", count)
    whole, broken = tmp_path / "whole.csv", tmp_path / "broken.csv"
    subprocess.run(command(source, whole, url), check=True, capture_output=True, timeout=300)
    reached = 0
    for _ in range(2):
        with between(server.url) as state:
            state.fail("POST", "", "held", after=ENOUGH)
            through = f"{state.url}/predictions/nli"
            running = subprocess.Popen(
                command(source, broken, through), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            wait_for_rows(broken, reached, running)
            running.kill()
            assert running.wait(30) == -signal.SIGKILL, "it was killed on its way"
        assert not broken.exists()
        reached = recorded_rows(broken)
    done = subprocess.run(
        command(source, broken, url), check=True, capture_output=True, text=True, timeout=300
    )
    assert f"{count} rows, {count - reached} of them in this run" in done.stdout
    assert 2 * PAIRS <= reached < count
    rows = read_csv(broken)
    check(rows, count)
    assert predictions(rows) == [list(each.values()) for each in _floats(read_csv(whole))]


def _floats(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    return [
        {name: float(value) if name in LABELS and value else value for name, value in each.items()}
        for each in rows
    ]


def test_a_service_that_goes_away_ends_the_run_and_its_return_lets_it_go_on(
    server: TorchServe, url: str, tmp_path: Path
) -> None:
    source = PairFile.survey(write_csv(tmp_path / "pairs.csv", 600))
    output = tmp_path / "out.csv"
    nobody = f"http://127.0.0.1:{Ports.free().inference}/predictions/nli"
    calls = itertools.count()

    class Leaving(Client):
        def classify(self, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
            return Client.classify(self if next(calls) < ENOUGH else gone, *arguments, **options)

    with Client(nobody, retries=1) as gone, Leaving(url) as leaving, pytest.raises(ServiceUnreachableError):
        classify_file(source, output, leaving)
    assert not output.exists()
    with Client(url) as client:
        summary = classify_file(source, output, client)
    assert summary.rows == 600
    assert 0 < summary.resumed < 600
    check(read_csv(output), 600)


def test_a_worker_that_is_killed_on_the_way_costs_no_row(
    server: TorchServe, url: str, tmp_path: Path
) -> None:
    source, output = write_csv(tmp_path / "pairs.csv", 900), tmp_path / "out.csv"
    with between(server.url) as state:
        state.fail("POST", "", "held", after=ENOUGH)
        through = f"{state.url}/predictions/nli"
        running = subprocess.Popen(
            command(source, output, through), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait_for_rows(output, 0, running)
        for pid in server.worker_pids():
            os.kill(pid, signal.SIGKILL)
        state.released.set()
        said, complained = running.communicate(timeout=240)
    assert running.returncode == 0, complained
    assert "900 rows, 900 of them in this run" in said
    check(read_csv(output), 900)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--input", "pairs.csv"], 2, "--output"),
        (["--output", "o.csv"], 2, "--input"),
        (["비가 온다."], 2, "premise"),
        (["--input", "pairs.csv", "--output", "o.txt"], 1, ".jsonl"),
        (["--input", "none.csv", "--output", "o.csv"], 1, "none.csv"),
        (["--input", "pairs.csv", "--output", "o.csv", "--url", "http://127.0.0.1:9"], 1, "no service"),
        (["--input", "pairs.csv", "--output", "o.csv", "--model", "other"], 1, "404"),
        (["--input", "pairs.csv", "--output", "o.csv", "--premise-column", "x"], 1, "번호, 전제, 가설"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(
    url: str, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    write_csv(tmp_path / "pairs.csv", 3)
    base = url.split("/predictions")[0]
    done = subprocess.run(
        [sys.executable, str(PROJECT / "scripts" / "classify.py"), "--url", base, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["pairs.csv"]
