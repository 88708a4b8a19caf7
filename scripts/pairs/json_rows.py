"""Rows in JSON: a list of objects, the one list that an object holds, or an object in each line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, NoReturn, TextIO

# The backend in Python is fast enough (50,000 rows in 0.8 s). The one in C replaces lone surrogates by `?`.
from ijson.backends import python as ijson
from ijson.common import JSONError, ObjectBuilder

from scripts.pairs.text_file import CHUNK, LARGEST_ROW, TextFile

DEEPEST = 100
"""Brackets inside each other at most."""

TOO_LARGE = "a number is too large for a double"
"""Said of one that Python reads as infinity, which JSON has no way to write."""

OPEN, CLOSE = ("start_map", "start_array"), ("end_map", "end_array")

Events = Iterator[tuple[str, Any]]


def is_lines(file: TextFile) -> bool:
    """True if a `.json` has an object in each line, as pandas and `datasets` write it, or nothing at all."""
    try:
        lines = (line for line in file.lines() if line.strip())
        first, second = (*islice(lines, 2), "", "")[:2]
    except ValueError:  # a line of a size that only a list without line breaks has
        return False
    return not first or (second.lstrip().startswith("{") and isinstance(parse_line(first), dict))


def parse_line(line: str) -> Any:
    """The object that a line holds, or a `str` that says why it holds none."""
    try:
        content = json.loads(line, parse_constant=_refuse_constant, parse_float=_finite)
    except OverflowError:
        return TOO_LARGE
    except (ValueError, RecursionError) as error:
        return f"the line is not JSON: {error}"
    return content if isinstance(content, dict) else "the line is not an object"


def read_list(file: TextFile) -> Iterator[Any]:
    """The elements of the list in a file, one at a time; only one of them is held.

    Raises:
        ValueError: the file isn't JSON, has no list of objects or several, or an element is too large.
    """
    with file.open() as text:
        source = _Source(text)
        try:
            for element in _elements(ijson.basic_parse(source, buf_size=CHUNK, use_float=True)):
                source.taken = 0
                yield element
        except JSONError as error:
            large = f"an element has more than {LARGEST_ROW} characters"
            raise ValueError(large if source.taken > LARGEST_ROW else str(error)[:100]) from None


def _elements(events: Events) -> Iterator[Any]:
    opening, _ = next(events)
    names: list[str] = []
    if opening == "start_array":
        yield from _rest_of_list(events)
    elif opening == "start_map":
        name = ""
        for event, value in events:
            if event == "map_key":
                name = value
            elif event != "start_array":
                if event != "end_map":
                    _build(event, value, events)
            elif (first := next(events))[0] == "start_map":
                names.append(name)
                if len(names) > 1:
                    raise ValueError(
                        f"it holds lists under {' and '.join(names)}; keep one of them in a file"
                    )
                yield _build(*first, events)
                yield from _rest_of_list(events)
            elif first[0] != "end_array":
                _build(event, value, chain([first], events))
    if opening != "start_array" and not names:
        raise ValueError("expected a list of objects, or an object that holds one")
    for _ in events:  # the parser refuses what follows
        pass


def _rest_of_list(events: Events) -> Iterator[Any]:
    for event, value in events:
        if event == "end_array":
            return
        yield _build(event, value, events)


def _build(event: str, value: Any, events: Events) -> Any:
    """The value that begins with an event."""
    builder = ObjectBuilder()
    depth = 0
    while True:
        depth += (event in OPEN) - (event in CLOSE)
        if depth > DEEPEST:
            raise ValueError(f"an element nests deeper than {DEEPEST} brackets")
        if event == "number" and value == -math.inf:  # ijson itself refuses inf alone
            raise ValueError(TOO_LARGE)
        builder.event(event, value)
        if not depth:
            return builder.value
        event, value = next(events)


class _Source:
    """A text as bytes, which is how a parser reads it, within the limit for an element."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self.taken = 0
        """Characters read since the last element."""

    def read(self, size: int) -> bytes:
        """The next characters; none behind an element that is too large."""
        chunk = self._text.read(size) if self.taken <= LARGEST_ROW else ""
        self.taken += len(chunk)
        return chunk.encode()


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise OverflowError
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
