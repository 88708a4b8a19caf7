"""A text file in whatever encoding it came: UTF-8, CP949 or UTF-16, also gzipped, read as a stream."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self, TextIO, cast

from handler.errors import ServiceError

CHUNK = 2**18
"""Bytes read at a time."""

LARGEST_ROW = 2**25
"""Characters of one row at most, so that a bracket that is never closed doesn't fill the memory."""

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's mark, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks and the encodings that they announce."""


class DataError(ServiceError):
    """A file of pairs can't be read, or doesn't hold what is asked for."""

    def __init__(self, message: str, for_logs: str | None = None) -> None:
        """Keep the message and, where it quotes the file, what a log may have instead."""
        super().__init__(message)
        self.for_logs = for_logs or message


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file whose encoding is known."""

    path: Path
    encoding: str
    sha256: str
    """Digest of the content, unpacked where the file is gzipped."""

    @classmethod
    def survey(cls, path: Path) -> Self:
        """Read the file through, and find the encoding in which the whole of it is valid.

        Raises:
            DataError: there is no such encoding.
            OSError, EOFError, zlib.error: the file can't be read.
        """
        digest = hashlib.sha256()
        with _open(path) as file:
            chunk = file.read(CHUNK)
            names = _candidates(chunk)
            decoders = {name: codecs.getincrementaldecoder(name)() for name in names}
            while True:
                digest.update(chunk)
                for name, decoder in list(decoders.items()):
                    try:
                        decoder.decode(chunk, final=not chunk)
                    except UnicodeDecodeError:
                        del decoders[name]
                if not chunk:
                    break
                chunk = file.read(CHUNK)
        if not decoders:
            raise DataError(f"{path} is not valid {' nor valid '.join(names)}; save it as UTF-8")
        return cls(path, next(iter(decoders)), digest.hexdigest())

    def open(self) -> TextIO:
        """Open the file as text; line ends are kept as they are."""
        return io.TextIOWrapper(_open(self.path), encoding=self.encoding, newline="")

    def lines(self) -> Iterator[str]:
        """The lines with their ends.

        Raises:
            ValueError: a line is longer than a row may be.
        """
        with self.open() as file:
            while line := file.readline(LARGEST_ROW + 1):
                if len(line) > LARGEST_ROW:
                    raise ValueError(f"a line has more than {LARGEST_ROW} characters")
                yield line


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _candidates(start: bytes) -> list[str]:
    """The encodings that a file with this beginning can have, the likeliest first."""
    for mark, name in MARKS:
        if start.startswith(mark):
            return [name]
    if b"\0" in start:  # UTF-16 without its mark: the byte order in which the text has lines or objects
        for sign in "\n{":
            for name in ("utf-16-le", "utf-16-be"):
                if sign in start.decode(name, errors="ignore"):
                    return [name]
    return ["utf-8", "cp949"]
