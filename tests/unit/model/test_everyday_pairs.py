"""The shipped model on what a visitor types: 200 everyday pairs that it was never trained or chosen on."""

from __future__ import annotations

import gzip
import json
from collections import Counter

import pytest

from scripts import PROJECT
from scripts.pairs.evaluation import evaluate_checkpoint
from scripts.pairs.labelled import read_labelled_pairs

DEMO = PROJECT / "checkpoints" / "demo"
TRAINED_ON = PROJECT / "checkpoints" / "everyday_pairs.tsv.gz"
FILE = PROJECT / "tests" / "everyday_pairs.jsonl"
ROWS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
SCORE = 150
"""Right predictions of 200 that the shipped checkpoint must reach."""


def test_there_are_as_many_pairs_of_each_kind_and_label() -> None:
    assert len({(row["premise"], row["hypothesis"]) for row in ROWS}) == 200
    assert set(Counter(row["kind"] for row in ROWS).values()) == {25}
    assert sorted(Counter(row["label"] for row in ROWS).values()) == [66, 67, 67]


def test_none_of_their_sentences_was_trained_on() -> None:
    trained = set(gzip.decompress(TRAINED_ON.read_bytes()).decode().replace("\n", "\t").split("\t"))
    assert len(trained) > 10_000
    assert trained.isdisjoint(row[text] for row in ROWS for text in ("premise", "hypothesis"))


def test_the_demo_gets_most_of_them_right() -> None:
    result = evaluate_checkpoint(DEMO, read_labelled_pairs(FILE))
    assert round(result.accuracy * result.pairs) >= SCORE, result.to_text()
    for index, counts in enumerate(result.confusion):
        assert counts[index] >= 0.6 * sum(counts), result.to_text()


def test_the_demo_is_small() -> None:
    size = sum(file.stat().st_size for file in DEMO.rglob("*") if file.is_file())
    assert size <= 50_000_000
    assert not [file for file in DEMO.iterdir() if file.suffix in {".ckpt", ".pt"}]


@pytest.mark.parametrize("word", ["CC BY-SA 4.0", "KLUE", "convert your own"])
def test_the_model_card_says_what_it_must(word: str) -> None:
    assert word in (DEMO / "README.md").read_text(encoding="utf-8")
