"""Read sentence pairs and their labels from the files in which Korean NLI data comes."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.errors import ConfigurationError
from handler.request import SentencePair

NAMES = {
    "premise": ("premise", "sentence1"),
    "hypothesis": ("hypothesis", "sentence2"),
    "label": ("gold_label", "label"),
}


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A pair and what it was judged to be, where the file says so."""

    pair: SentencePair
    label: str | None


def read_labelled_pairs(file: Path) -> list[LabelledPair]:
    """Read KLUE-NLI JSON, KorNLI TSV or JSON lines, each also gzipped (.gz).

    Pairs are keyed `premise` and `hypothesis` or `sentence1` and `sentence2`, labels `gold_label` or `label`.

    Raises:
        ConfigurationError: the file is missing, of no known form, or a row lacks a text.
    """
    kind = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
    try:
        rows = list(_rows(file, kind))
    except OSError as error:
        raise ConfigurationError(f"{file} can't be read: {error.strerror or error}") from None
    except (ValueError, csv.Error) as error:
        raise ConfigurationError(f"{file} is not valid {kind[1:]}: {error}") from None
    if not rows:
        raise ConfigurationError(f"{file} holds no pairs")
    return [_labelled(row, index, file) for index, row in enumerate(rows)]


def _rows(file: Path, kind: str) -> Iterator[Any]:
    raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    text = raw.decode("utf-8-sig")
    if kind == ".json":
        content = json.loads(text)
        if not isinstance(content, list):
            raise ValueError("expected a list of pairs")
        yield from content
    elif kind == ".jsonl":
        yield from (json.loads(line) for line in text.split("\n") if line.strip())
    elif kind == ".tsv":
        # KorNLI has quotation marks in its sentences and quotes nothing.
        yield from csv.DictReader(text.split("\n"), delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        raise ConfigurationError(f"{file}: expected .json, .jsonl or .tsv (or one of them with .gz)")


def _labelled(row: Any, index: int, file: Path) -> LabelledPair:
    found: dict[str, str] = {}
    for field, names in NAMES.items():
        for name in names:
            if isinstance(row, dict) and isinstance(row.get(name), str):
                found[field] = row[name]
                break
    if "premise" not in found or "hypothesis" not in found:
        raise ConfigurationError(f"{file}: row {index} lacks premise or hypothesis")
    return LabelledPair(SentencePair(found["premise"], found["hypothesis"]), found.get("label"))
