"""The evaluation command, on a served model and on a checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import PROJECT
from scripts.evaluate import main
from scripts.torchserve.server import TorchServe
from tests.commands import call


@pytest.fixture(autouse=True)
def proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that nobody listens at: requests to this machine don't go through it."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def evaluate(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return call(main, "--data", data, *arguments)


def write(file: Path, labels: list[str | int]) -> Path:
    rows = [
        {"premise": "비가 온다.", "hypothesis": f"날씨가 {number}", "label": label}
        for number, label in enumerate(labels)
    ]
    file.write_text(json.dumps({"data": rows}, ensure_ascii=False), encoding="cp949")
    return file


@pytest.mark.parametrize("where", ["checkpoint", "url"])
def test_the_command_counts_what_it_measured_and_what_it_skipped(
    tiny_checkpoint: Path, server: TorchServe, tmp_path: Path, where: str
) -> None:
    target = ["--checkpoint", str(tiny_checkpoint)] if where == "checkpoint" else ["--url", server.url]
    named = write(tmp_path / "한글, 1.json", ["neutral", "-", "중립", "Entailment"] * 10)
    command = [sys.executable, str(PROJECT / "scripts" / "evaluate.py"), "--data", str(named), *target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2].split(maxsplit=1) == ["skipped", "10 without a gold label"]
    figures: list[dict[str, Any]] = []
    numbered = write(tmp_path / "numbers.json", [1, -1, "1.0", 0] * 10)
    order = ["--label-order", "entailment", "neutral", "contradiction"]
    for data, options in ((named, []), (numbered, order)):
        done = evaluate(data, *target, *options, "--json")
        assert done.returncode == 0, done.stderr
        figures.append(json.loads(done.stdout))
    assert (figures[0]["pairs"], figures[0]["skipped"]) == (30, 10)
    assert sum(map(sum, figures[0]["confusion"])) == 30
    assert figures[1].pop("label_numbers") == order[1:]
    assert figures[0].pop("label_numbers") is None
    assert figures[1] == figures[0]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["neutral", "maybe"], "row 2 has the label 'maybe'"),
        ([1, 3], "row 2 has the label '3'"),
        (["-"], "no pair"),
    ],
)
def test_labels_are_refused_in_one_line(
    tiny_checkpoint: Path, tmp_path: Path, labels: list[str | int], said: str
) -> None:
    done = evaluate(write(tmp_path / "a.json", labels), "--checkpoint", str(tiny_checkpoint))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert said in line
