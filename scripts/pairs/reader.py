"""Sentence pairs from files of any size, and their labels where there are some: the project's one reader."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

from handler.errors import InvalidPair, RequestError
from handler.request import SentencePair, read_pair
from handler.settings import HandlerSettings
from scripts.pairs.columns import Columns
from scripts.pairs.delimited import Dialect
from scripts.pairs.json_rows import is_lines, parse_line, read_list
from scripts.pairs.text_file import LARGEST_ROW, DataError, TextFile

READ_FAULTS = (OSError, EOFError, zlib.error, ValueError, csv.Error)
"""What can go wrong while a file is read."""

KINDS = (".csv", ".tsv", ".txt", ".jsonl", ".json")

LIMITS = HandlerSettings(max_text_chars=LARGEST_ROW)
"""Only the service knows its own limits."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file."""

    number: int
    """Counted from 1, the header and empty lines apart."""
    cells: dict[str, Any]
    """Cells by column; a JSON row may lack some, and holds any JSON values."""
    pair: SentencePair | RequestError
    """The pair, or the reason why the row holds none."""
    label: str | None = None
    """The label as the file spells it; None where it is missing."""


@dataclass(frozen=True, slots=True)
class PairFile:
    """A file that was read through once, so that its faults are known before any work."""

    file: TextFile
    dialect: Dialect | None
    """Dialect of a delimited file; None for JSON."""
    listed: bool
    """True if the rows are the elements of a JSON list."""
    rows: int
    columns: tuple[str, ...]
    """In the order of the header, or in which they first appear in JSON."""
    found: Columns
    """The columns that hold the texts and the label."""

    @property
    def path(self) -> Path:
        """The file's path."""
        return self.file.path

    @classmethod
    def survey(
        cls,
        path: Path,
        premise: str | None = None,
        hypothesis: str | None = None,
        may_be_empty: bool = False,
    ) -> Self:
        """Read the file through: its encoding, its dialect, its columns, how many rows it has.

        Args:
            path: `.csv`, `.tsv` and `.txt` (separated by commas, semicolons or tabs), `.jsonl`, or `.json` (a
                list of objects); each also gzipped (`.gz`), in UTF-8, CP949 or UTF-16.
            premise, hypothesis: names of the columns, where they aren't among the known ones.
            may_be_empty: whether a file without rows, which has no columns then, is no fault.

        Raises:
            DataError: the file can't be read, or not as what its name says, or a column is missing.
        """
        find = partial(Columns.find, premise=premise, hypothesis=hypothesis)
        return cls._survey(path, find, may_be_empty)

    @classmethod
    def survey_texts(cls, path: Path, text: str | None = None) -> Self:
        """The same for a file whose rows hold one text, in the column `text`; their pairs have it twice."""
        return cls._survey(path, partial(Columns.find_single, text=text))

    @classmethod
    def _survey(
        cls, path: Path, find: Callable[[Path, tuple[str, ...]], Columns], may_be_empty: bool = False
    ) -> Self:
        kind = _kind(path)
        try:
            file = TextFile.survey(path)
            dialect = None if "json" in kind else Dialect.of(file, "," if kind == ".csv" else "\t")
            listed = kind == ".json" and not is_lines(file)
        except READ_FAULTS as error:
            raise _named(error, path) from None
        surveyed = cls(file, dialect, listed, 0, (), Columns("", "", None))
        count = 0
        columns: dict[str, None] = {}
        for cells in surveyed._records():
            count += 1
            if isinstance(cells, dict):
                columns |= dict.fromkeys(key for key in cells if key is not None)
        if not count and may_be_empty:
            return surveyed
        if not count:
            raise DataError(f"{path} holds no rows")
        if not columns:
            first = next(surveyed.read())
            raise DataError(f"{path} holds no pairs; its first row: {first.pair}")
        found = find(path, tuple(columns))
        return replace(surveyed, rows=count, columns=tuple(columns), found=found)

    def read(self, start: int = 0) -> Iterator[Row]:
        """The rows behind the first `start` ones, without keeping any.

        Raises:
            DataError: the file can't be read any more.
        """
        for number, cells in islice(enumerate(self._records(), 1), start, None):
            if isinstance(cells, dict):
                yield self._row(number, cells)
            else:
                reason = cells if isinstance(cells, str) else "the row is not an object"
                yield Row(number, {}, InvalidPair(reason))

    def _records(self) -> Iterator[Any]:
        """Each row's content: cells by column, or a `str` that says why a line of JSON can't be read."""
        records: Iterator[Any]
        if self.dialect:
            records = self.dialect.rows(self.file)
        elif self.listed:
            records = read_list(self.file)
        else:
            records = (parse_line(line) for line in self.file.lines() if line.strip())
        count = 0
        try:
            for cells in records:
                count += 1
                yield cells
        except READ_FAULTS as error:
            raise _named(error, self.path, f" after row {count}") from None

    def _row(self, number: int, cells: dict[Any, Any]) -> Row:
        surplus = cells.pop(None, None)
        if surplus:
            count = len(self.columns)
            reason = f"the row has {count + len(surplus)} cells, the header {count}"
            return Row(number, cells, InvalidPair(reason))
        texts = {"premise": cells.get(self.found.premise), "hypothesis": cells.get(self.found.hypothesis)}
        given = {field: text for field, text in texts.items() if text is not None}
        value = cells.get(self.found.label) if self.found.label else None
        label = None if value is None else str(value).strip() or None
        try:  # the code with which the service reads requests
            return Row(number, cells, read_pair(given, LIMITS), label)
        except RequestError as error:
            return Row(number, cells, error, label)


def _named(fault: Exception, path: Path, where: str = "") -> DataError:
    """What went wrong while a file was read, with the file and the place."""
    if isinstance(fault, ValueError | csv.Error):
        invalid = f"{path} is not valid {_kind(path)[1:]}{where}"
        return DataError(f"{invalid}: {fault}", for_logs=invalid)
    return DataError(f"{path} can't be read: {getattr(fault, 'strerror', None) or fault}")


def _kind(path: Path) -> str:
    """The kind of the file by its name.

    Raises:
        DataError: it is none that is read.
    """
    name = path.name.lower().removesuffix(".gz")
    kind = next((kind for kind in KINDS if name.endswith(kind)), None)
    if kind is None:
        hint = "; save the sheet as 'CSV UTF-8'" if name.endswith((".xls", ".xlsx")) else ""
        raise DataError(f"{path}: expected {', '.join(KINDS)}, also with .gz{hint}")
    return kind
