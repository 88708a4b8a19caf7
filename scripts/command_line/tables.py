"""Tables for people: aligned columns for a terminal, and Markdown for documents."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def text_table(rows: Sequence[Sequence[str]], align: str = "") -> str:
    """Lines with aligned columns, two spaces apart.

    Args:
        rows: rows of equally many cells; the first may be a header.
        align: `<` or `>` for each column; columns beyond it are aligned to the left.
    """
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for cell, width, side in zip(row, widths, align.ljust(len(widths), "<"), strict=False):
            padding = " " * (width - _width(cell))
            cells.append(padding + cell if side == ">" else cell + padding)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column aligned to the left, numbers behind it to the right."""
    lines = [f"| {' | '.join(row)} |" for row in (header, *rows)]
    return "\n".join([lines[0], "|---|" + "--:|" * (len(header) - 1), *lines[1:]])


def _width(text: str) -> int:
    """Terminal columns that a text takes: two for a Hangul syllable."""
    composed = unicodedata.normalize("NFC", text)
    return sum(1 + (unicodedata.east_asian_width(sign) in "WF") for sign in composed)
