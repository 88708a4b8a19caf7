"""The shipped model on what a visitor types: forty everyday pairs that it was never trained on."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from scripts import PROJECT
from scripts.pairs.evaluation import evaluate_checkpoint
from scripts.pairs.labelled import read_labelled_pairs

DEMO = PROJECT / "checkpoints" / "demo"
FILE = PROJECT / "tests" / "everyday_pairs.jsonl"
SCORE = 32
"""Right predictions that the shipped checkpoint must reach."""


def test_there_are_forty_pairs_of_every_kind() -> None:
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 40
    assert len({(row["premise"], row["hypothesis"]) for row in rows}) == 40
    kinds = Counter(row["kind"] for row in rows)
    assert len(kinds) >= 6
    assert min(kinds.values()) >= 4


def test_the_demo_gets_most_of_them_right() -> None:
    result = evaluate_checkpoint(DEMO, read_labelled_pairs(FILE))
    assert round(result.accuracy * result.pairs) >= SCORE, result.to_text()


def test_the_demo_is_small() -> None:
    size = sum(file.stat().st_size for file in DEMO.rglob("*") if file.is_file())
    assert size <= 25_000_000
    assert not [file for file in DEMO.iterdir() if file.suffix in {".ckpt", ".pt"}]


@pytest.mark.parametrize("word", ["CC BY-SA 4.0", "KLUE", "convert your own"])
def test_the_model_card_says_what_it_must(word: str) -> None:
    assert word in (DEMO / "README.md").read_text(encoding="utf-8")
