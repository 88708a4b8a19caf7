"""Sentences: where they end, where they only seem to, and which of them decides."""

from __future__ import annotations

import doctest
import itertools
import time
import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import sentences
from handler.sentences import deciding, split_sentences

LABELS = ("entailment", "contradiction", "neutral")


FORMS = pytest.mark.parametrize("form", ["NFC", "NFD"])


def split(text: str, form: Literal["NFC", "NFD"]) -> list[str]:
    """The sentences of a text that was sent in a form, composed."""
    sent = unicodedata.normalize(form, text)
    found = split_sentences(sent)
    assert [sent[each.start : each.end] for each in found] == [each.text for each in found]
    return [unicodedata.normalize("NFC", each.text) for each in found]


@FORMS
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("비가 온다. 집에 간다! 왜? 몰라", ["비가 온다.", "집에 간다!", "왜?", "몰라"]),
        ("  비가 온다.\n\n집에 간다  ", ["비가 온다.", "집에 간다"]),
        ("제목\r\n본문이다. 끝이다.", ["제목", "본문이다.", "끝이다."]),
        ("비가 왔다.그러나 나갔다.", ["비가 왔다.", "그러나 나갔다."]),
        ("정말?! 그래!!", ["정말?!", "그래!!"]),
        ("좋아요!ㅋㅋ 또 봐요~ 안녕", ["좋아요!ㅋㅋ", "또 봐요~ 안녕"]),
        ("그랬다… 그리고 음… 글쎄.", ["그랬다…", "그리고 음… 글쎄."]),
        ("그랬다... 음... 글쎄.", ["그랬다...", "음... 글쎄."]),
        ("앞이다.\n- - -\n뒤다.", ["앞이다.", "뒤다."]),
    ],
)
def test_sentences_end_with_punctuation_and_lines(
    text: str, expected: list[str], form: Literal["NFC", "NFD"]
) -> None:
    assert split(text, form) == expected


@FORMS
@pytest.mark.parametrize(
    "text",
    [
        '"비가 온다." 라고 말했다.',
        '"비가 온다."라고 말했다.',
        "“비가 온다. 가자.” 하고 그가 말했다.",
        '그는 "비가 온다. 가자! 어서."라고 했다.',
        "(그는 왔다. 곧 갔다.)라는 말이 있다.",
        "원주율은 3.14이다.",
        "1. 머리말을 쓴다.",
        "2026. 3. 1. 열린 대회에서 이겼다.",
        "J. Kim이 Dr. Lee를 만났다.",
        "www.example.com에 물어보라.",
        "값은 1,000원(세금 별도. 배송비 포함)이다.",
    ],
)
def test_what_only_looks_like_an_end_is_none(text: str, form: Literal["NFC", "NFD"]) -> None:
    assert split(text, form) == [text]


def test_a_mark_that_is_never_closed_holds_nothing_together() -> None:
    assert len(split_sentences('이것은 "열린 글이다. 다음 글이다. 끝이다.')) == 3


@given(st.text(alphabet="가다요é\u1103\u1161\u0301\u232a\u2001!?.…\n 고\"'”“()ㅋ~^", max_size=60))
def test_texts_that_are_equal_once_composed_have_the_same_sentences(text: str) -> None:
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    splits = [
        [unicodedata.normalize("NFC", each.text) for each in split_sentences(sent)] for sent in (*forms, text)
    ]
    assert splits[0] == splits[1] == splits[2]


@given(st.text(alphabet="가다요ab1.?!…\n \"'”“()[]ㅋ~", max_size=60))
def test_sentences_stand_where_they_say_in_order_and_hold_every_letter(text: str) -> None:
    found = split_sentences(text)
    assert [text[each.start : each.end] for each in found] == [each.text for each in found]
    assert all(one.end <= other.start for one, other in itertools.pairwise(found))
    assert all(each.text == each.text.strip() for each in found)
    kept = "".join(filter(str.isalnum, "".join(each.text for each in found)))
    assert kept == "".join(filter(str.isalnum, text))


@pytest.mark.parametrize(
    "part",
    [
        '"',
        "“",
        ". ",
        ".",
        "다.",
        "(",
        "…",
        "!ㅋ",
        "!",
        '!" ',
        "1. ",
        '"a',
        "\n",
        " ",
        "\u1103\u1161.",
        "\u0301\u0327",
    ],
)
def test_the_longest_text_is_split_at_once(part: str) -> None:
    text = (part * 50_000)[:49_999] + "가"
    began = time.process_time()
    split_sentences(text)
    assert time.process_time() - began < 5  # far less; where an expression backtracks, minutes


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([[0.1, 0.9, 0.0], [0.5, 0.1, 0.4], [0.6, 0.2, 0.2]], 2),
        ([[0.1, 0.5, 0.4], [0.1, 0.8, 0.1], [0.4, 0.0, 0.6]], 1),
        ([[0.1, 0.1, 0.8], [0.4, 0.0, 0.6], [0.0, 0.0, 1.0]], 1),
        ([[0.6, 0.2, 0.2], [0.6, 0.2, 0.2]], 0),
    ],
    ids=["support", "contradiction", "neither", "equals"],
)
def test_support_decides_then_contradiction_then_the_least_neutral(
    probabilities: list[list[float]], expected: int
) -> None:
    assert deciding(LABELS, probabilities) == expected


def test_the_examples_of_the_module() -> None:
    done = doctest.testmod(sentences)
    assert done.attempted
    assert not done.failed
