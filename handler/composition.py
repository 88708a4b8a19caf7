"""A text → its composed form (Unicode's NFC), as the models were trained to read it."""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby

LONG_RUN = re.compile(r"[^\w\s]{32,}")
"""Where many combining marks may follow one another; none of them is a letter, a digit or a space."""


def compose(text: str) -> str:
    r"""The NFC of a text, in a time that grows with its length alone.

    >>> compose("e\u0301")
    'é'
    """
    return unicodedata.normalize("NFC", LONG_RUN.sub(_in_order, text))


def _in_order(run: re.Match[str]) -> str:
    """The same characters, decomposed, with their combining marks in canonical order.

    `unicodedata` moves each mark past the others one by one, so that a run of 50,000 takes it seconds.
    """
    decomposed = "".join(unicodedata.normalize("NFD", each) for each in run[0])
    ordered: list[str] = []
    for _, alike in groupby(decomposed, key=lambda each: unicodedata.combining(each) > 0):
        # Characters that aren't combining are all of class 0, so that sorting leaves them as they are.
        ordered += sorted(alike, key=unicodedata.combining)
    return "".join(ordered)
