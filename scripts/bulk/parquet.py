"""Parquet: row groups in, one file out; other columns pass through as they are."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from handler.errors import RequestError
from handler.request import FIELDS, SentencePair, read_pair
from scripts.bulk.counting import count, recount
from scripts.bulk.folder import Folder
from scripts.bulk.fragments import Fragment, Job
from scripts.bulk.inputs import InputFile
from scripts.bulk.kinds import Predict
from scripts.pairs.columns import Columns
from scripts.pairs.output_layout import OutputLayout, refuse_taken
from scripts.pairs.reader import LIMITS
from scripts.pairs.text_file import DataError

BATCH_ROWS = 4096
"""Rows that are held at a time; also those of a row group of the output at most."""


def survey(folder: Folder, name: str, premise: str | None, hypothesis: str | None) -> InputFile:
    """Read a file's digest and its footer.

    Raises:
        DataError: a column is missing, or doesn't hold text.
    """
    with folder.open(name) as raw:
        digest = hashlib.file_digest(cast(io.BufferedReader, raw), "sha256").hexdigest()
        raw.seek(0)
        file = pq.ParquetFile(raw)
        schema = file.schema_arrow
        found = Columns.find(Path(name), tuple(schema.names), premise, hypothesis)
        for column in (found.premise, found.hypothesis):
            kind = schema.field(column).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if kind not in (pa.string(), pa.large_string(), pa.string_view()):
                raise DataError(f"{name}: column {column!r} is {kind}, not text")
        sizes = tuple(
            file.metadata.row_group(index).num_rows for index in range(file.metadata.num_row_groups)
        )
        columns = tuple(f"{field.name}: {field.type}" for field in schema)
        return InputFile(
            name,
            digest,
            sum(sizes),
            columns,
            found.premise,
            found.hypothesis,
            ".parquet",
            sizes,
            _footer(raw, file),
        )


def classify(fragment: Fragment, job: Job, predict: Predict, target: BinaryIO) -> Counter[str]:
    """Write the fragment's rows with their predictions, and count them."""
    counts: Counter[str] = Counter()
    layout = OutputLayout(job.labels, None)
    with _batches(fragment, job) as batches:
        writer = None
        for batch in batches:
            refuse_taken(Path(fragment.source), batch.schema.names, job.labels)
            pairs = [_pair(*texts) for texts in zip(*_texts(batch, job), strict=True)]
            predictions = predict(pairs)
            counts += count(predictions)
            added = [layout.added(prediction) for prediction in predictions]
            table = pa.Table.from_batches([batch])
            for name, kind in layout.types().items():
                values = pa.array([row[name] for row in added], _ARROW[kind])
                table = table.append_column(name, values)
            writer = writer or pq.ParquetWriter(target, table.schema)
            writer.write_table(table)
        if writer:
            writer.close()
    return counts


def check(fragment: Fragment, job: Job) -> Counter[str]:
    """Hold the output of a fragment against its input, row by row, and count its predictions.

    Raises:
        DataError: rows are missing, changed or in another order, or aren't predictions.
    """
    counts: Counter[str] = Counter()
    added = tuple(OutputLayout(job.labels, None).types())
    with job.output.open(fragment.part) as raw, _batches(fragment, job) as batches:
        written = pq.ParquetFile(raw)
        if written.metadata.num_rows != fragment.rows:
            raise DataError(f"it has {written.metadata.num_rows} rows instead of {fragment.rows}")
        for index, batch in enumerate(batches):  # each of which became a row group
            table = written.read_row_group(index)
            names = batch.schema.names
            if table.schema.names != [*names, *added] or not _same(table.select(names), batch):
                raise DataError(f"row group {index} isn't the input's")
            cells = {name: table.column(name).to_pylist() for name in added}
            probabilities = np.array([cells[label] for label in job.labels], dtype=float).T
            counts += recount(
                job.labels, cells["prediction"], probabilities, cells["truncated"], cells["error"]
            )
    return counts


def _same(table: Any, batch: Any) -> bool:
    expected = pa.Table.from_batches([batch])
    # The slow comparison is for NaN, which equals nothing, and for dictionaries in another order.
    return bool(table.equals(expected)) or repr(table.to_pylist()) == repr(expected.to_pylist())


@contextmanager
def _batches(fragment: Fragment, job: Job) -> Iterator[Iterator[Any]]:
    assert fragment.row_groups is not None
    with job.source.open(fragment.source) as raw:
        file = pq.ParquetFile(raw)
        if _footer(raw, file) != fragment.footer:
            raise DataError(f"{fragment.source} has changed")
        yield file.iter_batches(batch_size=BATCH_ROWS, row_groups=range(*fragment.row_groups))


def _footer(raw: BinaryIO, file: Any) -> str:
    """Digest of the footer: it has sizes and statistics of all columns, and is read anyway."""
    raw.seek(-file.metadata.serialized_size - 8, io.SEEK_END)  # length and mark follow it
    return hashlib.sha256(raw.read()).hexdigest()


def _texts(batch: Any, job: Job) -> list[list[str | None]]:
    """Premises and hypotheses; what isn't valid UTF-8 gets lone surrogates, which no pair may have."""
    found = []
    for name in (job.premise, job.hypothesis):
        column = batch.column(name)
        try:
            found.append(column.to_pylist())
        except UnicodeDecodeError:
            raw = column.cast(pa.string()).cast(pa.binary()).to_pylist()
            found.append([text and text.decode(errors="surrogateescape") for text in raw])
    return found


def _pair(premise: str | None, hypothesis: str | None) -> SentencePair | RequestError:
    texts = zip(FIELDS, (premise, hypothesis), strict=True)
    try:
        return read_pair({field: text for field, text in texts if text is not None}, LIMITS)
    except RequestError as error:
        return error


_ARROW = {str: pa.string(), float: pa.float64(), bool: pa.bool_()}
