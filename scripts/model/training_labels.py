"""The labels that a file of pairs has, as the classes of a model that is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from scripts.model.labels import TUTORIAL_LABELS
from scripts.pairs.columns import fold
from scripts.pairs.labelled import KOREAN_NAMES, NUMBER, LabelledPair, class_numbers, fold_label
from scripts.pairs.text_file import DataError


def labels_of(rows: Sequence[LabelledPair]) -> tuple[str, ...]:
    """The labels that occur, in the order in which ratsnlp numbers them, others by number or alphabet.

    They are read as `class_numbers` reads them; of several spellings of a name, the most frequent is taken.

    Raises:
        DataError: there are fewer than two, or some are numbers and others are names.
    """
    english = {fold(korean): name for korean, name in KOREAN_NAMES.items()}
    spellings: dict[str, Counter[str]] = {}
    first: dict[bool, str] = {}
    for row in rows:
        if row.gold and row.label:
            plain = fold_label(row.label)
            number = NUMBER.fullmatch(plain) is not None
            first.setdefault(number, f"{row.label[:40]!r} in {row.where}")
            name = english.get(plain, plain)
            known = number or name in TUTORIAL_LABELS
            spellings.setdefault(name, Counter())[name if known else row.label.strip()] += 1
    if len(first) > 1:
        raise DataError(
            f"some labels are numbers ({first[True]}), others are names ({first[False]}): write all as names"
        )
    if len(spellings) < 2:
        raise DataError(f"the data has {len(spellings)} different labels; at least 2 are needed")
    if set(spellings) == set(TUTORIAL_LABELS):
        return TUTORIAL_LABELS
    found = (spelt.most_common(1)[0][0] for spelt in spellings.values())
    return tuple(sorted(found, key=lambda name: (int(name) if True in first else 0, name)))


def count_labels(rows: Sequence[LabelledPair], labels: Sequence[str]) -> str:
    """How many pairs have each of `labels`, for people.

    Raises:
        DataError: a label isn't among `labels`.
    """
    counts = Counter(class_numbers(rows, labels, optional=True).numbers)
    stated = [f"{label} {counts[place]:,}" for place, label in enumerate(labels)]
    return ", ".join([*stated, f"without a gold label {counts[None]:,}"] if counts[None] else stated)
