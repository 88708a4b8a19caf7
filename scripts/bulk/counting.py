"""Counts of predictions, as they are made and as they are read again from a finished file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scripts.pairs import output_layout
from scripts.pairs.output_layout import Prediction
from scripts.pairs.text_file import DataError

ROUNDING = 1e-5
"""Deviation from 1 of a sum of probabilities that are rounded to six digits."""


def count(predictions: Sequence[Prediction]) -> Counter[str]:
    """Number of rows, of each label, of truncated pairs and of errors."""
    counts = output_layout.count(predictions)
    counts["rows"] = len(predictions)
    return counts


def recount(
    labels: Sequence[str],
    named: Sequence[str | None],
    probabilities: NDArray[np.float64],
    truncated: Sequence[bool | None],
    errors: Sequence[str | None],
) -> Counter[str]:
    """The same from the columns of a finished file, whose rows must be what a model can have said.

    Args:
        labels: the model's.
        named: the predicted label of each row; None where there is an error.
        probabilities: shape [rows, labels]; NaN where there is an error.
        truncated: of each row.
        errors: of each row; None where there is a prediction.

    Raises:
        DataError: a row has both a prediction and an error or none of them, or another label than its
            probabilities say.
    """
    counts = Counter(rows=len(named))
    for number, (label, row, cut, error) in enumerate(
        zip(named, probabilities, truncated, errors, strict=True), 1
    ):
        if error and label is None and np.isnan(row).all():
            counts["error"] += 1
        elif (
            not error
            and label in labels
            and row[labels.index(label)] == row.max()
            and abs(row.sum() - 1) < ROUNDING
        ):
            counts[f"label {label}"] += 1
            counts["truncated"] += bool(cut)
        else:
            raise DataError(f"row {number} is no prediction of this model")
    return counts
