"""The files of the input, each read through once: what a run is bound to, and how they are cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scripts.bulk.fragments import PARTS, Fragment
from scripts.pairs.text_file import DataError

FRAGMENT_ROWS = 20_000
"""Rows of a fragment at most, unless one row group or one file of text has more: a minute's work for a small
model, so that a lost actor costs no more, and long enough that handing it out costs nothing."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """The facts about one file of the input."""

    name: str
    sha256: str
    """Digest of the content; of what it unpacks to, where a file of text is gzipped."""
    rows: int
    columns: tuple[str, ...]
    """Names, for Parquet with their types; empty for JSON, whose rows may differ."""
    premise: str
    """Name of the column; empty, as the next one, where a file of text has no rows."""
    hypothesis: str
    kind: str
    """Ending of the output's files."""
    row_groups: tuple[int, ...] | None = None
    """Rows of each row group of a Parquet file."""
    footer: str | None = None
    """Digest of a Parquet file's footer; see `Fragment`."""


def refuse_mixture(files: Sequence[InputFile]) -> None:
    """Refuse files that can't become one output.

    Raises:
        DataError: they are of different kinds, or have other columns.
    """
    first = files[0]
    for file in files:
        if file.kind != first.kind:
            raise DataError(f"{first.name} and {file.name} are of different kinds; classify them apart")
        if file.columns != first.columns:
            raise DataError(f"{first.name} and {file.name} have different columns; classify them apart")
        if (file.premise, file.hypothesis) != (first.premise, first.hypothesis):
            raise DataError(
                f"{first.name} and {file.name} have their texts in different columns; "
                "name them with --premise-column and --hypothesis-column"
            )


def cut(files: Sequence[InputFile], largest: int = FRAGMENT_ROWS) -> list[Fragment]:
    """The fragments of the input in its order: whole files of text, and row groups of Parquet."""
    pieces = [
        (file, piece, rows) for file in files if file.rows for piece, rows in _pieces(file, largest) if rows
    ]
    digits = max(5, len(str(len(pieces))))
    return [
        Fragment(
            f"{PARTS}/part-{number:0{digits}}{file.kind}",
            file.name,
            file.sha256,
            rows,
            piece,
            file.footer,
        )
        for number, (file, piece, rows) in enumerate(pieces)
    ]


def _pieces(file: InputFile, largest: int) -> Iterator[tuple[tuple[int, int] | None, int]]:
    if file.row_groups is None:
        yield None, file.rows
        return
    start, rows = 0, 0
    for index, more in enumerate(file.row_groups):
        if rows and rows + more > largest:
            yield (start, index), rows
            start, rows = index, 0
        rows += more
    yield (start, len(file.row_groups)), rows
