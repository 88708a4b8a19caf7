"""The gate for int8: how far its predictions may be from those in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from handler.checkpoint import Checkpoint
from scripts.pairs.labelled import LabelledPair, class_numbers
from scripts.pairs.local_model import LocalModel

BATCH = 32
"""Pairs in one call of an engine."""


@dataclass(frozen=True)
class Gate:
    """The limits within which int8 may differ from float32."""

    max_accuracy_drop: float = 0.5
    """Percentage points that int8 may lose."""
    min_agreement: float = 98.0
    """Percent of pairs with the same prediction, at least."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Float32 and int8 on the same pairs, which int8 wasn't calibrated on."""

    pairs: int
    agreement: float
    """Percent of pairs with the same prediction."""
    labelled: int
    """Pairs with a gold label."""
    accuracy: tuple[float, float] | None
    """Percent of these that float32 and int8 get right; None without labels."""

    def to_text(self) -> str:
        """Two lines for people."""
        lines = [f"int8 agrees with fp32 on {self.agreement:.2f} % of {self.pairs} pairs"]
        if self.accuracy:
            before, after = self.accuracy
            lines.append(
                f"accuracy on {self.labelled} labelled pairs: fp32 {before:.2f} %, int8 {after:.2f} %"
                f" ({after - before:+.2f} points)"
            )
        else:
            lines.append("accuracy not measured: no pair has a gold label")
        return "\n".join(lines)

    def fault(self, gate: Gate) -> str | None:
        """The reason why int8 doesn't pass, or None where it does."""
        faults = []
        if self.agreement < gate.min_agreement:
            faults.append(f"agrees with fp32 on {self.agreement:.2f} % (at least {gate.min_agreement:g} %)")
        if self.accuracy and self.accuracy[0] - self.accuracy[1] > gate.max_accuracy_drop:
            drop = self.accuracy[0] - self.accuracy[1]
            faults.append(f"loses {drop:.2f} points of accuracy (at most {gate.max_accuracy_drop:g})")
        return " and ".join(faults) or None


def compare(reference: Checkpoint, candidate: Checkpoint, rows: Sequence[LabelledPair]) -> Comparison:
    """Compare the predictions of a built precision with those of the checkpoint it was made from.

    Raises:
        DataError: a label is not the model's.
        ConfigurationError: one of the models can't be loaded, or fails on a pair.
    """
    numbers = class_numbers(rows, reference.labels, optional=True).numbers
    truth = np.array([-1 if number is None else number for number in numbers])
    labelled = truth >= 0
    before, after = (_predictions(each, rows) for each in (reference, candidate))
    accuracy = None
    if labelled.any():
        first, second = (100 * float((each == truth)[labelled].mean()) for each in (before, after))
        accuracy = first, second
    return Comparison(len(rows), 100 * float((before == after).mean()), int(labelled.sum()), accuracy)


def _predictions(checkpoint: Checkpoint, rows: Sequence[LabelledPair]) -> NDArray[np.int64]:
    model = LocalModel(checkpoint)
    starts = tqdm(
        range(0, len(rows), BATCH),
        desc=f"measuring {checkpoint.precision or 'fp32'}",
        unit="batch",
        disable=None,
    )
    return np.concatenate(
        [model.probabilities([row.pair for row in rows[at : at + BATCH]]).argmax(axis=1) for at in starts]
    )
