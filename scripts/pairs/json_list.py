"""Reading a list of any length from a JSON file, one element at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn, TextIO

CHUNK = 2**18
"""Characters read at a time."""

_SPACE = re.compile(r"[ \t\r\n]*")


class JsonList:
    """The elements of a list; only one of them and a chunk of the file are held."""

    def __init__(self, file: TextIO, largest: int) -> None:
        """`largest` is how many characters an element may have, so that a lost bracket ends the reading."""
        self._file = file
        self._largest = largest
        self._decoder = json.JSONDecoder(parse_constant=refuse_constant)
        self._buffer = ""
        self._at = 0

    def __iter__(self) -> Iterator[Any]:
        """Read on.

        Raises:
            ValueError: it isn't JSON, isn't a list, or an element is too large.
        """
        if self._sign() != "[":
            raise ValueError("expected a list of objects")
        self._at += 1
        if self._sign() == "]":
            return
        while True:
            yield self._element()
            sign = self._sign()
            self._at += 1
            if sign == "]" and not self._sign():
                return
            if sign != ",":
                raise ValueError("the list has no end" if not sign else f"{sign!r} follows an element")

    def _sign(self) -> str:
        """The next character that isn't a space, or nothing at the end of the file."""
        while True:
            match = _SPACE.match(self._buffer, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._read_on():
                return ""

    def _element(self) -> Any:
        self._sign()
        while True:
            try:
                element, end = self._decoder.raw_decode(self._buffer, self._at)
                reason = "the list has no end"
                if end < len(self._buffer):  # else the next character may belong to it: 12 of 123
                    self._at = end
                    return element
            except json.JSONDecodeError as error:
                reason = error.msg
            except RecursionError:
                raise ValueError("an element nests too deeply") from None
            if len(self._buffer) - self._at > self._largest or not self._read_on():
                raise ValueError(reason)

    def _read_on(self) -> bool:
        """Drop what was read and read a chunk, or as much as is held, so that large elements cost no more."""
        rest = self._buffer[self._at :]
        more = self._file.read(max(CHUNK, len(rest)))
        self._buffer, self._at = rest + more, 0
        return bool(more)


def refuse_constant(name: str) -> NoReturn:
    """For `json.loads(parse_constant=…)`: NaN and Infinity aren't JSON."""
    raise ValueError(f"{name} is not a JSON number")
