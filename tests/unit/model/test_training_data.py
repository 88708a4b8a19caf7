"""How pairs are split, encoded and put into batches for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, DataCollatorWithPadding

from handler.encoding import PairEncoder
from handler.request import SentencePair
from scripts.model.training_data import Examples, LengthGrouped, read_split, write_pairs
from scripts.pairs.labelled import LabelledPair, read_labelled_pairs
from scripts.pairs.text_file import DataError

LABELS = ("entailment", "contradiction", "neutral")


def row(premise: str, hypothesis: str = "비가 온다.", label: str | None = "neutral") -> LabelledPair:
    return LabelledPair(SentencePair(premise, hypothesis), label)


def write(file: Path, premises: range, name: str = "") -> Path:
    """Three pairs for each premise."""
    rows = [row(f"{name}책 {number}", label=label) for number in premises for label in LABELS]
    write_pairs(rows, file)
    return file


@pytest.fixture(scope="module")
def encoder(pretrained: Path) -> PairEncoder:
    return PairEncoder(AutoTokenizer.from_pretrained(pretrained).backend_tokenizer, 16)


def test_no_premise_is_in_two_parts(tmp_path: Path) -> None:
    split = read_split([write(tmp_path / "a.jsonl", range(50))], held_out=31, test=20)
    parts = [{each.pair.premise for each in rows} for rows in (split.training, split.held_out, split.test)]
    assert [len(part) for part in parts] == [50 - 11 - 7, 11, 7]
    assert len(set.union(*parts)) == 50
    assert [len(rows) for rows in (split.training, split.held_out, split.test)] == [96, 33, 21]


def test_the_split_depends_on_the_premises_alone(tmp_path: Path) -> None:
    first = read_split([write(tmp_path / "a.jsonl", range(50))], held_out=30, test=21)
    turned = write(tmp_path / "b.jsonl", range(49, -1, -1))
    second = read_split([turned, write(tmp_path / "c.jsonl", range(9), "새 ")], held_out=60, test=21)
    assert set(second.test) == set(first.test)
    assert set(first.held_out) < set(second.held_out)
    assert len(second.training) == 150 - 60 - 21 + 27


def test_other_files_lose_the_premises_set_aside(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", range(50))
    split = read_split([file, file], held_out=30, test=21)
    aside = {each.pair.premise for each in split.held_out + split.test}
    assert aside.isdisjoint(each.pair.premise for each in split.training)
    assert len(split.training) == 2 * (150 - 51)


def test_a_tenth_is_held_out_where_nobody_says_how_many(tmp_path: Path) -> None:
    split = read_split([write(tmp_path / "a.jsonl", range(50))], held_out=None, test=0)
    assert len(split.held_out) == 15
    assert split.test == []


def test_written_pairs_are_read_again(tmp_path: Path) -> None:
    rows = [row('따옴표 "와"\t탭', label="neutral"), row("라벨 없음", label=None)]
    write_pairs(rows, tmp_path / "pairs.jsonl")
    assert read_labelled_pairs(tmp_path / "pairs.jsonl") == rows


def test_targets_are_smoothed_labels_or_the_teachers(encoder: PairEncoder) -> None:
    rows = [row("비가 온다. 비가 온다.", label="contradiction"), row("비", label=None)]
    examples = Examples(rows, encoder, LABELS, smoothing=0.06, taught=True)
    assert examples.lengths == sorted(examples.lengths)
    assert examples.labelled.tolist() == [False, True]
    np.testing.assert_allclose(examples.targets, [[1 / 3] * 3, [0.02, 0.96, 0.02]])
    teacher = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    examples.set_targets(teacher, only_unlabelled=True)
    np.testing.assert_allclose(examples.targets, [[0.5, 0.3, 0.2], [0.02, 0.96, 0.02]])
    examples.set_targets(teacher)
    np.testing.assert_allclose(examples.targets, teacher)


def test_pairs_without_a_gold_label_are_left_out_where_no_teacher_replaces_it(encoder: PairEncoder) -> None:
    rows = [row("비", label="-"), row("비", label="모순")]
    assert Examples(rows, encoder, LABELS, smoothing=0).targets.tolist() == [[0, 1, 0]]
    with pytest.raises(DataError, match="no label"):
        Examples([row("비", label=None)], encoder, LABELS, smoothing=0)


def test_a_label_that_the_model_lacks_is_refused(encoder: PairEncoder) -> None:
    with pytest.raises(DataError, match="the label 'other'"):
        Examples([row("비", label="other")], encoder, LABELS, smoothing=0.05)


def test_a_batch_is_what_the_service_would_read_and_padding(encoder: PairEncoder, pretrained: Path) -> None:
    rows = [row("비"), row("비가 온다. 비가 온다. 비가 온다. 비가 온다.")]
    examples = Examples(rows, encoder, LABELS, smoothing=0.0)
    batch = DataCollatorWithPadding(AutoTokenizer.from_pretrained(pretrained))([examples[0], examples[1]])
    short, long = encoder.encode([each.pair for each in rows])
    padding = len(long.input_ids) - len(short.input_ids)
    assert batch["input_ids"].tolist() == [[*short.input_ids, *[0] * padding], list(long.input_ids)]
    assert batch["token_type_ids"][1].tolist() == list(long.token_type_ids)
    assert batch["attention_mask"].sum(1).tolist() == [len(short.input_ids), len(long.input_ids)]
    assert batch["labels"].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert "token_type_ids" not in Examples(rows, encoder, LABELS, smoothing=0.0, typed=False)[0]


def test_batches_hold_pairs_of_about_one_length_in_an_order_that_comes_back() -> None:
    lengths = [5 + number % 60 for number in range(960)]
    sampler = LengthGrouped(lengths, batch=16, seed=3)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        torch.rand(5)  # what else the process draws must not count
        orders.append(list(sampler))
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == list(range(960))
    batches = [orders[0][start : start + 16] for start in range(0, 960, 16)]
    spreads = [
        max(lengths[each] for each in batch) - min(lengths[each] for each in batch) for batch in batches
    ]
    assert sum(spreads) / len(spreads) < 5
