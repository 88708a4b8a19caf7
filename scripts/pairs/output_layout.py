"""The layout of a file of predictions: the input's own columns, and the prediction's after them."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.errors import ConfigurationError
from scripts.pairs.reader import PairFile, Row

ADDED = ("prediction", "truncated", "model", "error")
"""Columns that every output has beside the input's own; each label has one too."""

Prediction = dict[str, Any] | str
"""The service's answer to one pair, or the reason why there is none."""


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """The columns of the output, and the form in which rows are written."""

    labels: tuple[str, ...]
    columns: tuple[str, ...] | None
    """Columns of a CSV; None for JSON lines."""

    @classmethod
    def of(cls, output: Path, source: PairFile, labels: tuple[str, ...]) -> OutputLayout:
        """The layout for an output's name, an input and a model's labels.

        Raises:
            ConfigurationError: the name ends in another way, or a column of the prediction is there twice.
        """
        kind = output.suffix.lower()
        if kind not in (".csv", ".jsonl"):
            raise ConfigurationError(f"{output}: the output must end in .csv or .jsonl")
        refuse_taken(source.path, source.columns, labels)
        columns = (*source.columns, ADDED[0], *labels, *ADDED[1:]) if kind == ".csv" else None
        return cls(labels, columns)

    def header(self) -> bytes:
        """The beginning of the file: Excel takes UTF-8 for CP949 without the byte order mark."""
        return "\ufeff".encode() + self._csv([self.columns]) if self.columns else b""

    def rows(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> bytes:
        """Rows of the output, in UTF-8."""
        filled = [
            row.cells | self.added(prediction) for row, prediction in zip(rows, predictions, strict=True)
        ]
        if self.columns:
            return self._csv([[cell(row.get(column)) for column in self.columns] for row in filled])
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in filled).encode(
            errors="backslashreplace"
        )

    def types(self) -> dict[str, type]:
        """Names and types of the prediction's columns, in their order; any of them may be empty."""
        kinds = (str, *(float for _ in self.labels), bool, str, str)
        return dict(zip((ADDED[0], *self.labels, *ADDED[1:]), kinds, strict=True))

    def added(self, prediction: Prediction) -> dict[str, Any]:
        """The prediction's columns of one row.

        Raises:
            ConfigurationError: the prediction has other labels.
        """
        if isinstance(prediction, str):
            return dict.fromkeys((ADDED[0], *self.labels, "truncated", "model")) | {"error": prediction}
        if tuple(prediction["probabilities"]) != self.labels:
            raise ConfigurationError("the service now has a model with other labels")
        added: dict[str, Any] = {"prediction": prediction["label"]}
        # Digits after the sixth depend on the rest of the batch.
        added |= {label: round(value, 6) for label, value in prediction["probabilities"].items()}
        added["truncated"] = prediction["truncated"]
        added["model"] = f"{prediction['model']['name']} {prediction['model']['version']}"
        return added | {"error": None}

    @staticmethod
    def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        return text.getvalue().encode(errors="backslashreplace")


def refuse_taken(path: Path, columns: Sequence[str], labels: Sequence[str]) -> None:
    """Refuse what would make two columns of one name in the output.

    Raises:
        ConfigurationError: the input has a column of the prediction's, or a label is named like another one.
    """
    same = sorted({*ADDED} & {*labels})
    if same:
        raise ConfigurationError(f"every output has a column {same[0]}; no label may be named {same[0]!r}")
    taken = sorted({*ADDED, *labels} & {*columns})
    if taken:
        raise ConfigurationError(f"{path} already has a column {', '.join(taken)}; rename it")


def cell(value: Any) -> str:
    """A cell that holds a value of JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def count(predictions: Sequence[Prediction]) -> Counter[str]:
    """Number of predictions of each label, of truncated pairs and of errors."""
    counts: Counter[str] = Counter()
    for prediction in predictions:
        if isinstance(prediction, str):
            counts["error"] += 1
        else:
            counts[f"label {prediction['label']}"] += 1
            counts["truncated"] += bool(prediction["truncated"])
    return counts
