"""The gate for int8: what it learns from, what it is measured on, and how that is judged."""

from __future__ import annotations

import pytest

from scripts.model.gate import Comparison, Gate, choose_pairs
from scripts.pairs.labelled import LabelledPair
from scripts.pairs.text_file import DataError
from tests.making import some_pairs


def test_the_gate_judges_agreement_and_accuracy() -> None:
    assert Comparison(500, 98.0, 0, None).fault(Gate()) is None
    assert Comparison(500, 99.0, 500, (90.0, 89.5)).fault(Gate()) is None
    assert "98 %" in str(Comparison(500, 97.9, 0, None).fault(Gate()))
    fault = str(Comparison(500, 97.0, 500, (90.0, 89.0)).fault(Gate()))
    assert "97.00 %" in fault
    assert "1.00 points" in fault


def test_what_is_measured_was_not_learnt() -> None:
    rows = [LabelledPair(pair, None) for pair in some_pairs(1000)]
    learnt, held_out = choose_pairs(rows + rows)
    assert (len(learnt), len(held_out)) == (300, 700)
    assert not {row.pair for row in learnt} & {row.pair for row in held_out}
    assert choose_pairs(rows) == (learnt, held_out)
    validation = rows[:400]
    assert not {row.pair for row in learnt} & {row.pair for row in choose_pairs(rows, validation)[1]}


def test_too_few_pairs_are_refused() -> None:
    rows = [LabelledPair(pair, None) for pair in some_pairs(50)]
    with pytest.raises(DataError, match="50 different pairs; at least 100"):
        choose_pairs(rows * 10)
