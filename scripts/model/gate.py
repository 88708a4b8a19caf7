"""The gate for int8: the pairs it is made with, and how far its predictions may be from those in float32."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handler.checkpoint import Checkpoint
from scripts.pairs.labelled import LabelledPair, class_numbers
from scripts.pairs.local_model import LocalModel
from scripts.pairs.text_file import DataError

CALIBRATION_PAIRS = 300
"""Largest number of pairs from which int8 learns its ranges; more make it slower and not better."""

HELD_OUT_PAIRS = 2000
"""Largest number of pairs on which int8 is compared with float32."""

FEWEST_PAIRS = 100
"""Smallest number of different pairs in a calibration file; fewer say little about ranges or agreement."""


@dataclass(frozen=True)
class Gate:
    """What int8 learns from and is measured on, and the limits within which it may differ from float32."""

    calibration: Path | None = None
    """A file that `scripts/pairs/reader.py` reads, for the ranges of the activations; part of it is kept
    back to measure on. None where activations are quantized as they come."""
    validation: Path | None = None
    """Such a file to measure on instead."""
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
        accuracy = "accuracy not measured: no pair has a gold label"
        if self.accuracy:
            before, after = self.accuracy
            accuracy = (
                f"accuracy on {self.labelled} labelled pairs: fp32 {before:.2f} %, int8 {after:.2f} %"
                f" ({after - before:+.2f} points)"
            )
        return f"int8 agrees with fp32 on {self.agreement:.2f} % of {self.pairs} pairs\n{accuracy}"

    def fault(self, gate: Gate) -> str | None:
        """The reason why int8 doesn't pass, or None where it does."""
        faults = []
        if self.agreement < gate.min_agreement:
            faults.append(f"agrees with fp32 on {self.agreement:.2f} % (at least {gate.min_agreement:g} %)")
        drop = self.accuracy[0] - self.accuracy[1] if self.accuracy else 0
        if self.accuracy and drop > gate.max_accuracy_drop:
            faults.append(f"loses {drop:.2f} points of accuracy (at most {gate.max_accuracy_drop:g})")
        return " and ".join(faults) or None


def choose_pairs(
    pairs: Sequence[LabelledPair], validation: Sequence[LabelledPair] = ()
) -> tuple[list[LabelledPair], list[LabelledPair]]:
    """Choose what to calibrate on and, apart from it, what to measure on; the same each time.

    Without `validation`, what was kept back of `pairs` is measured on.

    Raises:
        DataError: there are too few different pairs.
    """
    learnt: list[LabelledPair] = []
    rest: list[LabelledPair] = []
    if pairs:
        chosen = _different(pairs, "calibration file has {} different pairs")
        cut = min(CALIBRATION_PAIRS, len(chosen) // 2)
        learnt, rest = chosen[:cut], chosen[cut:]
    if validation:
        seen = {row.pair for row in learnt}
        others = [row for row in validation if row.pair not in seen]
        rest = _different(others, "validation file has {} different pairs that int8 wasn't calibrated on")
    return learnt, rest[:HELD_OUT_PAIRS]


def _different(rows: Sequence[LabelledPair], count: str) -> list[LabelledPair]:
    found = list({row.pair: row for row in rows}.values())
    if len(found) < FEWEST_PAIRS:
        raise DataError(f"the {count.format(len(found))}; at least {FEWEST_PAIRS} are needed")
    random.Random(0).shuffle(found)
    return found


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
    predicted: NDArray[np.int64] = LocalModel(checkpoint).probabilities([row.pair for row in rows]).argmax(1)
    return predicted
