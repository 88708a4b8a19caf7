"""What is counted again from a finished file is what was counted when it was made, or an error."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.bulk.counting import count, recount
from scripts.pairs.output_layout import Prediction
from scripts.pairs.text_file import DataError

LABELS = ["yes", "no"]
NAN = float("nan")


def test_both_counts_agree() -> None:
    model = {"name": "m", "version": "1"}
    predictions: list[Prediction] = [
        {"label": "no", "probabilities": {"yes": 0.2, "no": 0.8}, "truncated": True, "model": model},
        "premise is blank",
        {"label": "yes", "probabilities": {"yes": 0.5, "no": 0.5}, "truncated": False, "model": model},
    ]
    made = count(predictions)
    assert made == {"rows": 3, "label no": 1, "label yes": 1, "truncated": 1, "error": 1}
    read = recount(
        LABELS,
        ["no", None, "yes"],
        np.array([[0.2, 0.8], [NAN, NAN], [0.5, 0.5]]),
        [True, None, False],
        [None, "premise is blank", None],
    )
    assert +read == +made


@pytest.mark.parametrize(
    ("label", "row", "error"),
    [
        ("yes", [0.2, 0.8], None),  # another label than the probabilities say
        ("no", [0.2, 0.7], None),
        ("maybe", [0.2, 0.8], None),
        ("no", [0.2, 0.8], "premise is blank"),  # both
        (None, [0.2, 0.8], "premise is blank"),
        (None, [NAN, NAN], None),  # neither
        ("no", [NAN, NAN], None),
    ],
)
def test_a_row_that_no_model_wrote_is_refused(label: str | None, row: list[float], error: str | None) -> None:
    with pytest.raises(DataError, match="row 1"):
        recount(LABELS, [label], np.array([row]), [False], [error])
