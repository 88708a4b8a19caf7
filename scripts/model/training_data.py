"""Labelled pairs as a model is trained on them: split by premise, encoded, grouped by length."""

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
from torch.utils.data import Dataset, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from handler.encoding import PairEncoder
from scripts.pairs.labelled import LabelledPair, class_numbers, read_labelled_pairs
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


class Examples(Dataset[dict[str, Any]]):
    """What a model reads of pairs and the probabilities that it should answer, in order of length.

    Those beside each other fill a batch with little padding.
    """

    def __init__(
        self,
        rows: Sequence[LabelledPair],
        encoder: PairEncoder,
        labels: Sequence[str],
        smoothing: float,
        typed: bool = True,
        taught: bool = False,
    ) -> None:
        """Encode the pairs of `rows`.

        Args:
            rows: those without a gold label are left out or, where a teacher will replace their targets, get
                one that says nothing.
            encoder: encodes as the service will.
            labels: in the order of the classifier's outputs.
            smoothing: the share of probability that a label's target spreads over all labels.
            typed: whether the model tells premise and hypothesis apart by type.
            taught: whether a teacher will replace targets.

        Raises:
            DataError: a label isn't among `labels`.
        """
        numbers = class_numbers(rows, labels, optional=taught).numbers
        encoded = zip(numbers, encoder.encode([row.pair for row in rows]), strict=True)
        kept = sorted(
            (each for each in encoded if taught or each[0] is not None),
            key=lambda each: len(each[1].input_ids),
        )
        self._typed = typed
        self._encoded = [pair for _, pair in kept]
        truth = np.array([-1 if number is None else number for number, _ in kept], dtype=int)
        self.labelled = truth >= 0
        """Whether each example has a gold label."""
        self.targets = smoothing / len(labels) + (1 - smoothing) * np.eye(len(labels))[truth]
        """Probabilities, of shape [examples, labels]."""
        self.targets[~self.labelled] = 1 / len(labels)

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair = self._encoded[index]
        inputs = {"input_ids": list(pair.input_ids), "labels": self.targets[index].tolist()}
        return inputs | ({"token_type_ids": list(pair.token_type_ids)} if self._typed else {})

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example."""
        return [len(pair.input_ids) for pair in self._encoded]

    def set_targets(self, targets: NDArray[np.float64], only_unlabelled: bool = False) -> None:
        """Replace the targets with a teacher's probabilities, or those alone that no label gave."""
        kept = self.labelled[:, None] & only_unlabelled
        self.targets = np.where(kept, self.targets, targets)


class LengthGrouped(Sampler[int]):
    """Indices in an order in which batches hold pairs of about one length, different in each epoch.

    transformers' own draws its order from the random numbers of the process, which after a resumption are
    others than they were.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths, self._batch, self._seed = list(lengths), batch, seed
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
