"""A text → its composed form (Unicode's NFC), as the models were trained to read it."""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby

LONG_RUN = re.compile(r"[^\w\s]{32,}")
"""Where many combining marks may follow one another; none of them is a letter, a digit or a space."""


def compose(text: str) -> str:
    """The NFC of a text, in a time that grows with its length alone.

    >>> compose("e\\u0301")
    'é'
    """
    return unicodedata.normalize("NFC", LONG_RUN.sub(_in_order, text))


def _in_order(run: re.Match[str]) -> str:
    """The same signs with their combining marks in canonical order.

    `unicodedata` moves each mark past the others one by one, so that a run of 50,000 takes it seconds.
    """
    signs = "".join(unicodedata.normalize("NFD", sign) for sign in run[0])
    parts: list[str] = []
    for _, signs_of_kind in groupby(signs, key=lambda sign: unicodedata.combining(sign) > 0):
        # Signs that aren't combining are all of class 0, so that sorting leaves them as they are.
        parts += sorted(signs_of_kind, key=unicodedata.combining)
    return "".join(parts)
