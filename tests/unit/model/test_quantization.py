"""What int8 learns from, and what it is measured on."""

from __future__ import annotations

import pytest

from scripts.model.quantization import split_pairs
from scripts.pairs.labelled import LabelledPair
from scripts.pairs.text_file import DataError
from tests.making import some_pairs


def test_what_is_measured_was_not_learnt() -> None:
    rows = [LabelledPair(pair, None) for pair in some_pairs(1000)]
    learnt, held_out = split_pairs(rows + rows)
    assert (len(learnt), len(held_out)) == (300, 700)
    assert not {row.pair for row in learnt} & {row.pair for row in held_out}
    assert split_pairs(rows) == (learnt, held_out)
    validation = rows[:400]
    assert not {row.pair for row in learnt} & {row.pair for row in split_pairs(rows, validation)[1]}


def test_too_few_pairs_are_refused() -> None:
    rows = [LabelledPair(pair, None) for pair in some_pairs(50)]
    with pytest.raises(DataError, match="50 different pairs; at least 100"):
        split_pairs(rows * 10)
