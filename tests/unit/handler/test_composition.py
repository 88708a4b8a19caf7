"""Composition: NFC to the letter, for ordinary text and for runs of marks, and in little time for both."""

from __future__ import annotations

import doctest
import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import composition
from handler.composition import LONG_RUN, compose

MARKS = "\u0301\u0327\u0344\u0345\u0f71\u0f73\u0f80\u3099\u302e\u0338"
"""Combining marks of several classes; two of them decompose."""


@given(st.text())
def test_any_text_becomes_its_nfc(text: str) -> None:
    assert compose(text) == unicodedata.normalize("NFC", text)


@given(
    st.lists(
        st.one_of(
            st.text(alphabet=MARKS + "=.", min_size=32, max_size=90), st.text(alphabet="aéが=가\u1102\u1161 ")
        )
    )
)
def test_runs_of_marks_become_their_nfc(parts: list[str]) -> None:
    text = "".join(parts)
    assert compose(text) == unicodedata.normalize("NFC", text)


def test_no_combining_mark_is_missed_in_a_run() -> None:
    every = map(chr, range(sys.maxunicode + 1))
    marks = [sign for sign in every if unicodedata.combining(unicodedata.normalize("NFD", sign)[0])]
    assert len(marks) > 800
    assert LONG_RUN.fullmatch("".join(marks))


@pytest.mark.parametrize(
    "text",
    ["a" + "\u0301\u0327" * 30_000, "\u0f73" * 60_000, "." * 60_000, ("a" + "\u0301\u0327" * 16) * 2000],
    ids=["marks", "marks that decompose", "no marks", "many runs"],
)
def test_a_long_run_of_marks_takes_little_time(text: str) -> None:
    began = time.process_time()
    compose(text)
    assert time.process_time() - began < 1  # far less; with unicodedata alone the first two take seconds


def test_the_examples_of_the_module() -> None:
    done = doctest.testmod(composition)
    assert done.attempted
    assert not done.failed
