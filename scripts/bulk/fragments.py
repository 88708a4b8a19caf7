"""What is handed to an actor; without `handler`, so that an actor can take the archive's own."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.bulk.folder import Folder

PARTS = "parts"
"""The folder of the output that holds its files of rows, and nothing else, for readers of whole folders."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of the input that becomes one file of the output."""

    part: str
    """Name of the output's file; names sort as the fragments follow each other."""
    source: str
    """Name of the input's file."""
    sha256: str
    """Digest of the input's file, as `scripts.bulk.inputs.InputFile` has it."""
    rows: int
    row_groups: tuple[int, int] | None = None
    """First row group of a Parquet file, and the one behind the last; None is a whole file of text."""
    footer: str | None = None
    """Digest of a Parquet file's footer, by which a change is noticed without reading the file through."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all fragments of a run share."""

    source: Folder
    output: Folder
    premise: str
    """Name of the column."""
    hypothesis: str
    """Name of the column."""
    labels: tuple[str, ...]
    """The model's labels in the order of its outputs."""
