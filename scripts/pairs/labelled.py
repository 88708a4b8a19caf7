"""Pairs with their labels: what evaluation, calibration and training read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from handler.answer import KOREAN
from handler.errors import RequestError
from handler.request import SentencePair
from scripts.pairs.columns import fold
from scripts.pairs.reader import PairFile
from scripts.pairs.text_file import DataError

NO_GOLD = ("-", "-1", "-1.0")
"""Marks of SNLI and its relatives for a pair on whose label the annotators didn't agree."""

KOREAN_NAMES = {word: label for label, word in KOREAN.items()} | {
    "함의": "entailment",
    "모순": "contradiction",
}
"""Labels by the Korean words for them."""

NUMBER = re.compile(r"\d{1,4}")
"""A label that is a number, as `fold_label` writes it."""


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A pair and its label, where the file has one."""

    pair: SentencePair
    label: str | None
    """The label as the file spells it."""
    where: str = field(default="a pair", compare=False)
    """File and row, for messages."""

    @property
    def gold(self) -> bool:
        """Whether it has a label, and not the mark for none."""
        return fold_label(self.label or "") not in {"", *NO_GOLD}


@dataclass(frozen=True, slots=True)
class ClassNumbers:
    """The pairs' labels as places in a model's list of labels."""

    numbers: tuple[int | None, ...]
    """For each pair; None where it has no gold label."""
    order: tuple[str, ...] | None
    """The labels that 0, 1, … were read as; None where the file has names alone."""


def fold_label(label: str) -> str:
    """A label as it is compared; 2.0 is 2, since pandas writes 2.0 where a column has gaps."""
    return re.sub(rf"({NUMBER.pattern})\.0+", r"\1", fold(label))


def name_numbers(labels: Sequence[str]) -> str:
    """The labels that numbers stand for, for people: `0 entailment, 1 neutral`."""
    return ", ".join(f"{number} {label}" for number, label in enumerate(labels))


def read_labelled_pairs(file: Path, text: str | None = None, single: bool = False) -> list[LabelledPair]:
    """Read every pair of a file that `PairFile` reads, or every text of a column where `single` says so.

    Raises:
        DataError: the file can't be read, or a row holds no usable pair.
    """
    source = PairFile.survey_texts(file, text) if single else PairFile.survey(file)
    pairs = []
    for row in source.read():
        where = f"{file}, row {row.number}"
        if isinstance(row.pair, RequestError):
            raise DataError(f"{where}: {row.pair}")
        pairs.append(LabelledPair(row.pair, row.label, where))
    return pairs


def class_numbers(
    pairs: Sequence[LabelledPair],
    labels: Sequence[str],
    order: Sequence[str] | None = None,
    optional: bool = False,
) -> ClassNumbers:
    """Find the pairs' labels among a model's, by name (also in Korean), or by number.

    Args:
        pairs: labelled pairs.
        labels: the model's labels in the order of its outputs.
        order: the labels that the numbers 0, 1, … stand for, where it isn't the model's order.
        optional: whether a pair may be without a label.

    Raises:
        DataError: a label is missing or not the model's, or `order` names others than the model's.
    """
    order = order or labels
    if sorted(order) != sorted(labels):
        raise DataError(f"the model's labels are {', '.join(labels)}, not {', '.join(order)}")
    places = {fold(korean): labels.index(name) for korean, name in KOREAN_NAMES.items() if name in labels}
    places |= {fold_label(name): place for place, name in enumerate(labels)}
    numbers: list[int | None] = []
    as_numbers = False
    for pair in pairs:
        name = fold_label(pair.label or "")
        if name in places:
            numbers.append(places[name])
        elif NUMBER.fullmatch(name) and int(name) < len(order):
            numbers.append(labels.index(order[int(name)]))
            as_numbers = True
        elif name in NO_GOLD or (optional and not name):
            numbers.append(None)
        else:
            stated = f"the label {pair.label[:40]!r}" if pair.label else "no label"
            raise DataError(f"{pair.where} has {stated}; the model's labels are {name_numbers(order)}")
    return ClassNumbers(tuple(numbers), tuple(order) if as_numbers else None)
