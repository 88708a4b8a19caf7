"""Arguments and exit codes: what every verb does alike."""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from scripts.command_line.arguments import (
    add_topic_arguments,
    argument_parser,
    has_topics,
    positive_integer,
    positive_number,
    run,
    whole_number,
)


def test_whole_numbers_from_one_are_read() -> None:
    assert positive_integer("1") == 1
    assert positive_integer("64") == 64


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "", "²"])
def test_other_counts_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="whole number above 0"):
        positive_integer(text)


def test_whole_numbers_from_zero_are_read() -> None:
    assert [whole_number(text) for text in ("0", "2000")] == [0, 2000]
    for text in ("-5", "1.5", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="whole number from 0"):
            whole_number(text)


def test_finite_numbers_above_zero_are_read() -> None:
    assert positive_number("0.5") == 0.5
    for text in ("0", "-1", "nan", "inf", "x"):
        with pytest.raises(argparse.ArgumentTypeError, match="number above 0"):
            positive_number(text)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], False),
        (["--labels", "가,나"], True),
        (["--labels", ""], True),
        (["--labels", "", "--multi"], True),
    ],
)
def test_topics_are_asked_for_by_labels_even_by_none(given: list[str], expected: bool) -> None:
    parser = argument_parser("", "")
    add_topic_arguments(parser, "{}")
    assert has_topics(parser, parser.parse_args(given)) == expected


def refuse() -> None:
    raise ConfigurationError("what was wrong")


def full_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out.csv")


def missing() -> None:
    Path("/nowhere/at all").read_bytes()


def interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (lambda: None, 0, ""),
        (lambda: 3, 3, ""),
        (refuse, 1, "error: what was wrong\n"),
        (full_disk, 1, "error: out.csv: No space left on device\n"),
        (missing, 1, "error: /nowhere/at all: No such file or directory\n"),
        (interrupted, 130, ""),
    ],
    ids=["done", "code", "refused", "full disk", "missing file", "Ctrl-C"],
)
def test_a_verb_ends_with_a_code_and_one_line(
    command: object, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(command)
    assert run(command) == code
    assert capsys.readouterr().err == said
