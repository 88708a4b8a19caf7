"""Labelled pairs as a model is trained on them: split by premise, encoded, sorted, in batches of a length."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from handler.encoding import EncodedPair, PairEncoder
from scripts.model.labels import TUTORIAL_LABELS
from scripts.pairs.labelled import KOREAN_NAMES, NO_GOLD, LabelledPair, class_numbers, read_labelled_pairs
from scripts.pairs.text_file import DataError

MOST_HELD_OUT = 1500
"""Pairs held out where nobody says how many: accuracy is then known to within 2.5 points."""


@dataclass(frozen=True, slots=True)
class Split:
    """Pairs to learn from, to choose the best model on, and to measure that one on; no premise is in two."""

    training: list[LabelledPair]
    held_out: list[LabelledPair]
    test: list[LabelledPair]


def read_split(files: Sequence[Path], held_out: int | None, test: int) -> Split:
    """Read all files and set pairs of the first one aside, the same ones in every run.

    Premises are ordered by their SHA-256, which has nothing to do with what they say. The pairs of the first
    of them are the test, those of the next are held out, and all the rest is learnt from.

    Args:
        files: as `scripts/evaluate.py` reads them.
        held_out: pairs to choose on, at least, since all pairs of a premise go together; None for a tenth of
            the first file, `MOST_HELD_OUT` at most.
        test: likewise, pairs that the training neither learns from nor chooses on.

    Raises:
        DataError: a file can't be read, or nothing is left to learn from.
    """
    first, *others = (read_labelled_pairs(file) for file in files)
    if held_out is None:
        held_out = min(len(first) // 10, MOST_HELD_OUT)
    ordered = sorted(first, key=lambda row: hashlib.sha256(row.pair.premise.encode()).digest())
    ends = [0, _end_of_premise(ordered, test)]
    ends.append(_end_of_premise(ordered, ends[1] + held_out))
    aside = {row.pair.premise for row in ordered[: ends[2]]}
    rest = [row for rows in (first, *others) for row in rows if row.pair.premise not in aside]
    if not rest:
        raise DataError(
            f"{files[0]} has {len(first)} pairs, none of which is left to learn from: "
            f"{held_out} are held out and {test} are for the test"
        )
    return Split(rest, ordered[ends[1] : ends[2]], ordered[: ends[1]])


def _end_of_premise(rows: Sequence[LabelledPair], count: int) -> int:
    """`count`, or as many rows more as the last premise has."""
    while 0 < count < len(rows) and rows[count].pair.premise == rows[count - 1].pair.premise:
        count += 1
    return min(count, len(rows))


def write_pairs(rows: Sequence[LabelledPair], file: Path) -> None:
    """Write pairs as JSON lines that `scripts/evaluate.py` reads."""
    with file.open("w", encoding="utf-8") as lines:
        for row in rows:
            content = {"premise": row.pair.premise, "hypothesis": row.pair.hypothesis}
            content |= {"gold_label": row.label} if row.label is not None else {}
            lines.write(json.dumps(content, ensure_ascii=False) + "\n")


def labels_of(rows: Sequence[LabelledPair]) -> tuple[str, ...]:
    """The labels that occur, in the order in which ratsnlp numbers them, others by alphabet.

    Raises:
        DataError: there are fewer than two.
    """
    names = {row.label for row in rows if row.label and row.label not in NO_GOLD}
    found = sorted({KOREAN_NAMES.get(name, name) for name in names})
    if len(found) < 2:
        raise DataError(f"the data has {len(found)} different labels; at least 2 are needed")
    return TUTORIAL_LABELS if set(found) == set(TUTORIAL_LABELS) else tuple(found)


@dataclass(frozen=True, slots=True)
class Example:
    """What a model reads of one pair, and the probabilities that it should answer."""

    encoded: EncodedPair
    target: tuple[float, ...]


class Examples(torch.utils.data.Dataset[Example]):
    """Examples in order of length, so that those beside each other fill a batch without padding."""

    def __init__(
        self,
        rows: Sequence[LabelledPair],
        encoder: PairEncoder,
        labels: Sequence[str],
        smoothing: float,
        taught: bool = False,
    ) -> None:
        """Encode the pairs of `rows`.

        Args:
            rows: those without a gold label are left out or, where a teacher will replace all targets, get
                one that says nothing.
            encoder: encodes as the service will.
            labels: in the order of the classifier's outputs.
            smoothing: the share of probability that a label's target spreads over all labels.
            taught: whether a teacher will replace targets.

        Raises:
            DataError: a label isn't among `labels`.
        """
        numbers = class_numbers(rows, labels, optional=taught).numbers
        even = np.full((1, len(labels)), 1 / len(labels))
        targets = smoothing * even + (1 - smoothing) * np.eye(len(labels))
        encoded = encoder.encode([row.pair for row in rows])
        ordered = sorted(zip(rows, encoded, numbers, strict=True), key=lambda each: len(each[1].input_ids))
        kept = [each for each in ordered if taught or each[2] is not None]
        self.rows = [row for row, _, _ in kept]
        self._labelled = [number is not None for _, _, number in kept]
        self._examples = [
            Example(pair, tuple((even[0] if number is None else targets[number]).tolist()))
            for _, pair, number in kept
        ]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example."""
        return [len(example.encoded.input_ids) for example in self._examples]

    @property
    def targets(self) -> NDArray[np.float64]:
        """Shape [examples, labels]."""
        return np.array([example.target for example in self._examples])

    def labelled_by_target(self, labels: Sequence[str]) -> list[LabelledPair]:
        """The pairs with the label that their target holds for most probable."""
        chosen = self.targets.argmax(axis=1)
        return [LabelledPair(row.pair, labels[index]) for row, index in zip(self.rows, chosen, strict=True)]

    def set_targets(self, targets: Sequence[Sequence[float]], only_unlabelled: bool = False) -> None:
        """Replace the targets with a teacher's probabilities, or those alone that no label gave."""
        self._examples = [
            example if only_unlabelled and labelled else Example(example.encoded, tuple(target))
            for labelled, example, target in zip(self._labelled, self._examples, targets, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Collator:
    """Makes a batch of examples, padded to the longest of them."""

    pad_token_id: int
    token_types: bool
    """Whether the model tells premise and hypothesis apart by type."""

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """The batch by the names of the model's inputs, with the targets as `labels`."""
        ids = [torch.tensor(example.encoded.input_ids) for example in examples]
        types = [torch.tensor(example.encoded.token_type_ids) for example in examples]
        batch = {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_token_id),
            "attention_mask": pad_sequence([torch.ones_like(each) for each in ids], batch_first=True),
            "labels": torch.tensor([example.target for example in examples]),
        }
        if self.token_types:
            batch["token_type_ids"] = pad_sequence(types, batch_first=True)
        return batch


class LengthGrouped(Sampler[int]):
    """Indices in an order in which batches hold pairs of about one length, different in each epoch.

    transformers' own draws its order from the random numbers of the process, which after a resumption are
    others than they were.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths = list(lengths)
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer, also when it resumes."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(1000 * self._seed + self._epoch)
        indices: list[Any] = get_length_grouped_indices(self._lengths, self._batch, generator=generator)  # type: ignore[no-untyped-call]
        return iter(indices)
