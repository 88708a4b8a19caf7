"""Reading sentence pairs from files of any size: CSV as Korean Excel writes it, TSV, JSON lines, JSON."""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

from handler.errors import ConfigurationError, InvalidPair, RequestError
from handler.request import FIELDS, SentencePair, parse_request
from handler.settings import HandlerSettings
from scripts.pairs.json_list import JsonList, refuse_constant

KINDS = (".csv", ".tsv", ".jsonl", ".json")

KNOWN_COLUMNS = (("premise", "hypothesis"), ("sentence1", "sentence2"), ("전제", "가설"))
"""Names by which the two texts are found where none are given; capitals don't matter."""

CHUNK = 2**18
"""Bytes read at a time."""

LARGEST_ROW = 2**25
"""Characters of one row at most: an unclosed quotation mark or bracket must not fill the memory."""

LIMITS = HandlerSettings(max_text_chars=LARGEST_ROW)
"""Only the service knows its own limits."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, and what is to be asked about it."""

    cells: dict[str, Any]
    """By column; a JSON row may lack some, and holds whatever JSON can."""
    pair: SentencePair | RequestError
    """The pair, or why the row holds none."""


@dataclass(frozen=True, slots=True)
class PairFile:
    """A file that was read through once, so that nothing about it is a surprise later."""

    path: Path
    encoding: str
    sha256: str
    rows: int
    columns: tuple[str, ...]
    """In the order of the header, or in which they first appear in JSON."""
    texts: tuple[str, str]
    """The columns of premise and hypothesis."""

    @classmethod
    def survey(cls, path: Path, premise: str | None = None, hypothesis: str | None = None) -> Self:
        """Read the file through: its encoding, its columns, how many rows it has.

        Args:
            path: `.csv` (quoted as Excel does), `.tsv` (never quoted), `.jsonl`, or `.json` (a list of
                objects); UTF-8 with or without byte order mark, CP949, or UTF-16 with its mark.
            premise, hypothesis: names of the columns; found by `KNOWN_COLUMNS` where they aren't given.

        Raises:
            ConfigurationError: the file can't be read, or not as what its name says, or a column is missing.
        """
        if path.suffix.lower() not in KINDS:
            raise ConfigurationError(f"{path}: expected {', '.join(KINDS)}")
        count = 0
        columns: dict[str, None] = {}
        try:
            encoding, digest = _encoding_and_digest(path)
            for cells in _records(path, encoding):
                count += 1
                if isinstance(cells, dict):
                    columns |= dict.fromkeys(key for key in cells if key is not None)
        except OSError as error:
            raise ConfigurationError(f"{path} can't be read: {error.strerror or error}") from None
        except (ValueError, csv.Error) as error:
            kind = path.suffix[1:].lower()
            raise ConfigurationError(f"{path} is not valid {kind} after row {count}: {error}") from None
        if not count:
            raise ConfigurationError(f"{path} holds no rows")
        texts = _find_columns(path, tuple(columns), premise, hypothesis)
        return cls(path, encoding, digest, count, tuple(columns), texts)

    def read(self, start: int = 0) -> Iterator[Row]:
        """The rows from number `start` on, counted from 0, without keeping any."""
        for cells in islice(_records(self.path, self.encoding), start, None):
            if isinstance(cells, dict):
                yield self._row(cells)
            else:
                yield Row({}, InvalidPair(cells if isinstance(cells, str) else "the row is not an object"))

    def _row(self, cells: dict[Any, Any]) -> Row:
        surplus = cells.pop(None, None)
        if surplus:
            count = len(self.columns)
            return Row(cells, InvalidPair(f"the row has {count + len(surplus)} cells, the header {count}"))
        texts = {
            field: cells[column]
            for field, column in zip(FIELDS, self.texts, strict=True)
            if cells.get(column) is not None
        }
        try:  # judged by the code that the service judges requests with
            return Row(cells, parse_request({"body": texts}, None, LIMITS).pairs[0])
        except RequestError as error:
            return Row(cells, error)


def _encoding_and_digest(path: Path) -> tuple[str, str]:
    """The first encoding in which the whole file is valid, and the file's SHA-256.

    Raises:
        ConfigurationError: there is no such encoding.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start.startswith(codecs.BOM_UTF8):
            names = ["utf-8-sig"]
        elif start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            names = ["utf-16"]  # Excel's "Unicode text"
        else:
            names = ["utf-8", "cp949"]
        decoders = {name: codecs.getincrementaldecoder(name)() for name in names}
        while True:
            chunk = file.read(CHUNK)
            digest.update(chunk)
            for name, decoder in list(decoders.items()):
                try:
                    decoder.decode(chunk, final=not chunk)
                except UnicodeDecodeError:
                    del decoders[name]
            if not chunk:
                break
    if not decoders:
        raise ConfigurationError(f"{path} is not valid {' nor valid '.join(names)}")
    return next(iter(decoders)), digest.hexdigest()


def _records(path: Path, encoding: str) -> Iterator[Any]:
    """What stands in each row: cells by column, or a `str` that says why a line of JSON can't be read."""
    kind = path.suffix.lower()
    csv.field_size_limit(LARGEST_ROW)
    with path.open(encoding=encoding, newline="" if kind == ".csv" else "\n") as file:
        if kind == ".csv":
            yield from _cells(csv.reader(file, strict=True))
        elif kind == ".tsv":
            # By its definition a TSV quotes nothing, and KorNLI has lone quotation marks in its sentences.
            yield from _cells(line.rstrip("\r\n").split("\t") for line in file)
        elif kind == ".jsonl":
            yield from (_parsed(line) for line in file if line.strip())
        else:
            yield from JsonList(file, LARGEST_ROW)


def _cells(lines: Iterator[list[str]]) -> Iterator[dict[Any, Any]]:
    """Cells by column as `csv.DictReader` has them (surplus ones under None), empty lines left out."""
    header: list[str] = []
    for cells in lines:
        if cells in ([], [""]):
            continue
        if not header:
            header = [name.strip() or f"column {number}" for number, name in enumerate(cells, 1)]
            if len(set(header)) < len(header):
                raise ValueError("the header has the same column twice")
            continue
        row: dict[Any, Any] = dict(zip(header, cells, strict=False))
        if len(cells) > len(header):
            row[None] = cells[len(header) :]
        yield row


def _parsed(line: str) -> Any:
    try:
        content = json.loads(line, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        return f"the line is not JSON: {error}"
    return content if isinstance(content, dict) else "the line is not an object"


def _find_columns(
    path: Path, columns: tuple[str, ...], premise: str | None, hypothesis: str | None
) -> tuple[str, str]:
    """The columns of the two texts, as given or as known."""
    folded: Mapping[str, str] = {column.casefold(): column for column in reversed(columns)}
    found = next((pair for pair in KNOWN_COLUMNS if all(name in folded for name in pair)), None)
    names = []
    for field, given, known in zip(FIELDS, (premise, hypothesis), found or (None, None), strict=True):
        name = given if given in columns else folded.get((given or known or "").casefold())
        if name is None:
            missing = f"no column {given!r}" if given else f"no known column for the {field}"
            raise ConfigurationError(f"{path} has {missing}; its columns are {', '.join(columns)}")
        names.append(name)
    if names[0] == names[1]:
        raise ConfigurationError(f"premise and hypothesis can't both be column {names[0]!r}")
    return names[0], names[1]
