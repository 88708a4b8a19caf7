"""Which classes the labels of a file are: spellings of one label are one class."""

from __future__ import annotations

import pytest

from handler.request import SentencePair
from scripts.model.training_labels import count_labels, labels_of
from scripts.pairs.labelled import LabelledPair, class_numbers
from scripts.pairs.text_file import DataError

LABELS = ("entailment", "contradiction", "neutral")


def rows(*labels: str | None) -> list[LabelledPair]:
    return [
        LabelledPair(SentencePair("가", "나"), label, f"a.tsv, row {number}")
        for number, label in enumerate(labels, 1)
    ]


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        (sorted(LABELS), LABELS),
        (("중립", "모순", "함의", "-"), LABELS),
        (("Neutral", " neutral", "CONTRADICTION", "참", "entailment"), LABELS),
        (("same", "other", "same"), ("other", "same")),
        (("SAME", "Same", "Same", "other"), ("Same", "other")),
        (("10", "2.0", "2", "0", None), ("0", "2", "10")),
        (("1.0", "0.0", "-1.0", ""), ("0", "1")),
    ],
)
def test_spellings_of_a_label_are_one_class(written: tuple[str, ...], labels: tuple[str, ...]) -> None:
    found = labels_of(rows(*written))
    assert found == labels
    assert set(class_numbers(rows(*written), found, optional=True).numbers) - {None} == set(
        range(len(labels))
    )


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(DataError, match="1 different labels"):
        labels_of(rows("neutral", "Neutral", "중립", None, "-"))


def test_numbers_among_names_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        labels_of(rows("neutral", "entailment", "1.0"))
    assert str(caught.value) == (
        "some labels are numbers ('1.0' in a.tsv, row 3), others are names ('neutral' in a.tsv, row 1): "
        "write all as names"
    )


def test_counts_show_a_label_that_was_mistyped() -> None:
    written = rows(*["neutral"] * 1200, "중립", "mistyped", "-", None)
    assert count_labels(written, labels_of(written)) == "mistyped 1, neutral 1,201, without a gold label 2"
