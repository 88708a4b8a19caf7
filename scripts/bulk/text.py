"""CSV, TSV and JSON, as `scripts.pairs` reads and writes them: one file in, one file out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from scripts.bulk.counting import count, recount
from scripts.bulk.folder import Folder
from scripts.bulk.fragments import Fragment, Job
from scripts.bulk.inputs import InputFile
from scripts.bulk.kinds import Predict
from scripts.pairs.output_layout import OutputLayout, cell
from scripts.pairs.reader import PairFile, Row
from scripts.pairs.text_file import DataError

ROWS = 1024
"""Rows that are held at a time."""


def survey(folder: Folder, name: str, premise: str | None, hypothesis: str | None) -> InputFile:
    """Read a file through, as `PairFile` does.

    Raises:
        DataError: it can't be read, or a column is missing.
    """
    with folder.local(name) as path:
        file = PairFile.survey(path, premise, hypothesis, may_be_empty=True)
    found, digest = file.found, file.file.sha256
    if file.dialect:
        return InputFile(name, digest, file.rows, file.columns, found.premise, found.hypothesis, ".csv")
    return InputFile(name, digest, file.rows, (), found.premise, found.hypothesis, ".jsonl")


def classify(fragment: Fragment, job: Job, predict: Predict, target: BinaryIO) -> Counter[str]:
    """Write the file's rows with their predictions, and count them."""
    counts: Counter[str] = Counter()
    with _input(fragment, job) as source:
        layout = OutputLayout.of(Path(fragment.part), source, job.labels)
        target.write(layout.header())
        rows = source.read()
        while chunk := list(islice(rows, ROWS)):
            predictions = predict([row.pair for row in chunk])
            target.write(layout.rows(chunk, predictions))
            counts += count(predictions)
    return counts


def check(fragment: Fragment, job: Job) -> Counter[str]:
    """Hold the output of a fragment against its input, row by row, and count its predictions.

    Raises:
        DataError: rows are missing, changed or in another order, or aren't predictions.
    """
    counts: Counter[str] = Counter()
    with _input(fragment, job) as source, job.output.local(fragment.part) as path:
        written = PairFile.survey(path, job.premise, job.hypothesis)
        if written.rows != fragment.rows:
            raise DataError(f"it has {written.rows} rows instead of {fragment.rows}")
        both = zip(source.read(), written.read(), strict=True)
        while chunk := list(islice(both, ROWS)):
            for before, after in chunk:
                if _cells(before, source.columns) != _cells(after, source.columns):
                    raise DataError(f"row {after.number} isn't the input's")
            rows = [{name: cell(value) for name, value in after.cells.items()} for _, after in chunk]
            probabilities = [[float(row[label] or "nan") for label in job.labels] for row in rows]
            counts += recount(
                job.labels,
                [row["prediction"] or None for row in rows],
                np.array(probabilities),
                [row["truncated"] == "true" for row in rows],
                [row["error"] for row in rows],
            )
    return counts


@contextmanager
def _input(fragment: Fragment, job: Job) -> Iterator[PairFile]:
    with job.source.local(fragment.source) as path:
        file = PairFile.survey(path, job.premise, job.hypothesis)
        if file.file.sha256 != fragment.sha256:
            raise DataError(f"{fragment.source} has changed")
        yield file


def _cells(row: Row, columns: Sequence[str]) -> list[str]:
    """Cells as they can be written: UTF-8 has no lone surrogates."""
    return [cell(row.cells.get(name)).encode(errors="backslashreplace").decode() for name in columns]
