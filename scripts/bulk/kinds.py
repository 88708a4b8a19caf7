"""The kinds of files that are read, and what each of them can do."""

from __future__ import annotations

import errno
import importlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Protocol, cast

from handler.errors import RequestError, ServiceError
from handler.request import SentencePair
from scripts.bulk.folder import Folder
from scripts.bulk.fragments import Fragment, Job
from scripts.bulk.inputs import InputFile
from scripts.pairs.output_layout import Prediction
from scripts.pairs.resumable_output import OutputError
from scripts.pairs.text_file import DataError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the errors of a full disk."""

Predict = Callable[[Sequence[SentencePair | RequestError]], list[Prediction]]
"""The prediction for each pair, or the reason why there is none."""


class Kind(Protocol):
    """A kind of files; its modules are `parquet` and `text`."""

    def survey(self, folder: Folder, name: str, premise: str | None, hypothesis: str | None) -> InputFile:
        """Read a file through."""
        ...

    def classify(self, fragment: Fragment, job: Job, predict: Predict, target: BinaryIO) -> Counter[str]:
        """Write a fragment's rows with their predictions, and count them."""
        ...

    def check(self, fragment: Fragment, job: Job) -> Counter[str]:
        """Hold the output of a fragment against its input, and count its predictions."""
        ...


def kind_of(name: str) -> Kind:
    """The kind of a file by its name."""
    module = "parquet" if name.lower().endswith((".parquet", ".pq")) else "text"
    return cast(Kind, importlib.import_module(f"scripts.bulk.{module}"))


def survey(folder: Folder, name: str, premise: str | None, hypothesis: str | None) -> InputFile:
    """Read a file of the input through.

    Raises:
        DataError: it can't be read, or not as what its name says, or a column is missing.
    """
    with faults_named(name):
        return kind_of(name).survey(folder, name, premise, hypothesis)


def check(fragment: Fragment, job: Job) -> Counter[str] | str:
    """Counts of a finished fragment, or a `str` that says why it isn't whole."""
    try:
        with faults_named(fragment.part):
            return kind_of(fragment.source).check(fragment, job)
    except ServiceError as error:
        return str(error)


@contextmanager
def faults_named(name: str) -> Iterator[None]:
    """Raise what goes wrong with a file as an error of one line, without what the file holds: Ray logs it.

    Raises:
        ServiceError: always in place of another error.
    """
    try:
        yield
    except ServiceError as error:
        message = error.for_logs if isinstance(error, DataError) else str(error)
        raise type(error)(message if name in message else f"{name}: {message}") from None
    except OSError as error:
        if error.errno in FULL:  # reading fills nothing but the folder for temporary files
            raise OutputError(f"{tempfile.gettempdir()} can't be written: {error.strerror}") from None
        raise DataError(f"{name}: {error.strerror or type(error).__name__}") from None
    except Exception as error:
        raise DataError(f"{name} can't be processed: {type(error).__name__}") from None


@contextmanager
def write_faults_named(name: str) -> Iterator[None]:
    """Raise what goes wrong while a file of the output is written, in the same way.

    Raises:
        OutputError: in place of an error that isn't named yet.
    """
    try:
        yield
    except ServiceError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise OutputError(f"{name} can't be written: {reason}") from None
