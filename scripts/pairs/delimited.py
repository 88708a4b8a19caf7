"""CSV and TSV in the dialects that people bring: Excel's, pandas' and KorNLI's."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

from scripts.pairs.text_file import LARGEST_ROW, TextFile

NEEDS_QUOTES = '"\t\r\n'
"""Signs for which a writer of quoted TSV puts a cell in quotation marks; Excel does it for commas too."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The way in which a delimited file separates and quotes its cells."""

    delimiter: str
    quoted: bool
    skipped: int
    """Lines before the header: Excel reads `sep=;` as the delimiter."""

    @classmethod
    def of(cls, file: TextFile, usual: str) -> Self:
        """Find the dialect: `usual` is the delimiter where the header doesn't show another one."""
        _allow_long_cells()
        first = next(file.lines(), "")
        if stated := re.fullmatch(r"sep=(.)\s*", first):
            delimiter, skipped = stated[1], 1
        else:
            counts = {sign: len(next(csv.reader([first], delimiter=sign), [])) for sign in ",;\t"}
            delimiter, skipped = max(counts, key=lambda sign: (counts[sign], sign == usual)), 0
        quoted = delimiter != "\t" or _quotes_cells(islice(file.lines(), skipped, None), file.encoding)
        return cls(delimiter, quoted, skipped)

    def rows(self, file: TextFile) -> Iterator[dict[Any, Any]]:
        """Cells by column as `csv.DictReader` has them (surplus ones under None), empty lines left out.

        Raises:
            ValueError, csv.Error: the header has a column twice, or a quotation mark is out of place.
        """
        _allow_long_cells()
        lines = islice(file.lines(), self.skipped, None)
        cells_of_rows = (
            csv.reader(lines, delimiter=self.delimiter, strict=True)
            if self.quoted
            else (line.rstrip("\r\n").split(self.delimiter) for line in lines)
        )
        header: list[str] = []
        for cells in cells_of_rows:
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


def _quotes_cells(lines: Iterator[str], encoding: str) -> bool:
    """True if a TSV quotes cells, as Excel and pandas do; KorNLI takes quotation marks as they are.

    It quotes cells if its header does, or if a writer that quotes where it must would have written each row
    as it is. Excel writes UTF-16 and CP949, and quotes cells with a comma too.
    """
    taken: list[str] = []

    def recorded() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    styles = [NEEDS_QUOTES] if encoding.startswith("utf-8") else [NEEDS_QUOTES, NEEDS_QUOTES + ","]
    width, spans, even = 0, False, True
    try:
        for cells in csv.reader(recorded(), delimiter="\t", strict=True):
            row = "".join(taken).rstrip("\r\n")
            if not row:
                taken.clear()
                continue
            if not width and row == "\t".join(_quote(cell) for cell in cells):
                return True
            width = width or len(cells)
            styles = [style for style in styles if row == _written(cells, style)]
            if not styles or len(cells) > width:
                return False
            spans |= len(taken) > 1
            even &= all(line.count("\t") == width - 1 for line in taken)
            taken.clear()
    except csv.Error:
        return False
    # Where every line has as many cells as the header, a quoted line break would be a coincidence.
    return not (spans and even)


def _written(cells: list[str], needs_quotes: str) -> str:
    return "\t".join(_quote(cell) if any(sign in cell for sign in needs_quotes) else cell for cell in cells)


def _quote(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def _allow_long_cells() -> None:
    """Let Python's csv module, process-wide, read cells of more than its 131,072 characters."""
    csv.field_size_limit(LARGEST_ROW)
