"""The columns of a file of pairs: which hold premise, hypothesis and label."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from handler.request import FIELDS
from scripts.pairs.text_file import DataError

KNOWN_TEXTS = (("premise", "hypothesis"), ("sentence1", "sentence2"), ("전제", "가설"))
"""Names by which the two texts are found where none are given; capitals don't matter."""

KNOWN_SINGLE = ("text", "sentence", "document", "premise", "본문", "내용", "문장", "텍스트", "글", "전제")
"""Names by which a text that stands alone is found, the first first."""

KNOWN_LABELS = ("gold_label", "label", "정답", "레이블", "라벨")


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns, as the file spells them."""

    premise: str
    hypothesis: str
    label: str | None
    """None where the file has no labels."""

    @classmethod
    def find(
        cls, path: Path, names: tuple[str, ...], premise: str | None = None, hypothesis: str | None = None
    ) -> Self:
        """Find the columns among `names`: the texts as given or as known, the label as known.

        Raises:
            DataError: a column is missing.
        """
        folded = {fold(name): name for name in reversed(names)}
        known = next((pair for pair in KNOWN_TEXTS if all(name in folded for name in pair)), (None, None))
        texts = []
        for field, given, usual in zip(FIELDS, (premise, hypothesis), known, strict=True):
            name = given if given in names else folded.get(fold(given or usual or ""))
            if name is None:
                missing = f"no column {given!r}" if given else f"no known column for the {field}"
                raise _missing(
                    f"{path} has {missing}",
                    names,
                    "name the right ones with --premise-column and --hypothesis-column",
                )
            texts.append(name)
        if texts[0] == texts[1]:
            raise DataError(f"premise and hypothesis can't both be column {texts[0]!r}")
        return cls(texts[0], texts[1], _label(folded))

    @classmethod
    def find_single(cls, path: Path, names: tuple[str, ...], text: str | None = None) -> Self:
        """Find the column of a text that stands alone, which is premise and hypothesis; the only one will do.

        Raises:
            DataError: the column is missing.
        """
        folded = {fold(name): name for name in reversed(names)}
        wanted = (fold(text),) if text else KNOWN_SINGLE
        found = next((folded[name] for name in wanted if name in folded), None)
        if found is None and not text and len(names) == 1:
            found = names[0]
        if found is None:
            missing = f"no column {text!r}" if text else "no known column for the text"
            raise _missing(f"{path} has {missing}", names, "name the right one with --text-column")
        return cls(found, found, _label(folded))


def _missing(fault: str, names: tuple[str, ...], advice: str) -> DataError:
    """The error; for logs without the names, which are texts where a file has no header."""
    return DataError(
        f"{fault}; its columns are {', '.join(names)[:150]}: {advice}",
        f"{fault}; it has {len(names)} columns: {advice}",
    )


def _label(folded: Mapping[str, str]) -> str | None:
    return next((folded[name] for name in KNOWN_LABELS if name in folded), None)


def fold(text: str) -> str:
    """A name as it is compared: composed Hangul (macOS programs write it decomposed), in small letters."""
    return unicodedata.normalize("NFC", text).strip().casefold()
