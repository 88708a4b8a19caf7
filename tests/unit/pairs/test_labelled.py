"""Labels in files: names in two languages, numbers, pairs without a gold label, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from handler.request import SentencePair
from scripts.pairs.labelled import LabelledPair, class_numbers, read_labelled_pairs
from scripts.pairs.text_file import DataError

LABELS = ("entailment", "contradiction", "neutral")

EXPECTED = [
    LabelledPair(SentencePair('그가 "비"라고 했다.', "비가 온다."), "neutral"),
    LabelledPair(SentencePair("가", "나"), "entailment"),
]
KLUE = json.dumps(
    [{"guid": "1", "premise": '그가 "비"라고 했다.', "hypothesis": "비가 온다.", "gold_label": "neutral"},
     {"premise": "가", "hypothesis": "나", "gold_label": "entailment"}], ensure_ascii=False,
)  # fmt: skip
KORNLI = 'sentence1\tsentence2\tgold_label\n그가 "비"라고 했다.\t비가 온다.\tneutral\n가\t나\tentailment\n'
LINES = '{"premise": "그가 \\"비\\"라고 했다.", "hypothesis": "비가 온다.", "label": "neutral"}\n\n'
LINES += '{"premise": "가", "hypothesis": "나", "label": "entailment"}\n'
CSV = '전제,가설,정답\n"그가 ""비""라고 했다.",비가 온다.,neutral\n가,나,entailment\n'


@pytest.mark.parametrize("suffix", [".json", ".tsv", ".txt", ".jsonl", ".csv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16"])
def test_each_form_in_each_encoding_and_gzipped(tmp_path: Path, suffix: str, encoding: str) -> None:
    text = {".json": KLUE, ".jsonl": LINES, ".csv": CSV}.get(suffix, KORNLI)
    plain, packed = tmp_path / ("a" + suffix), tmp_path / ("c" + suffix + ".gz")
    plain.write_bytes(text.encode(encoding))
    packed.write_bytes(gzip.compress(text.encode(encoding)))
    assert read_labelled_pairs(plain) == read_labelled_pairs(packed) == EXPECTED


def test_a_file_may_have_no_labels(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"premise": "가", "hypothesis": "나"}', encoding="utf-8")
    assert read_labelled_pairs(file) == [LabelledPair(SentencePair("가", "나"), None)]


def test_a_row_without_a_pair_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text("premise\thypothesis\n가\t나\n다\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.tsv, row 2: hypothesis is missing"):
        read_labelled_pairs(file)


def labelled(*labels: str | None) -> list[LabelledPair]:
    return [
        LabelledPair(SentencePair("가", "나"), label, f"a.tsv, row {number}")
        for number, label in enumerate(labels, 1)
    ]


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("entailment", 0),
        (" Entailment ", 0),
        ("NEUTRAL", 2),
        ("참", 0),
        ("거짓", 1),
        ("중립", 2),
        ("함의", 0),
        ("모순", 1),
        ("\u110e\u1161\u11b7", 0),  # decomposed
        ("0", 0),
        ("2", 2),
        ("1.0", 1),
        ("-", None),
        ("-1", None),
    ],
)
def test_a_label_is_found_by_name_or_number(written: str, label: int | None) -> None:
    assert class_numbers(labelled(written), LABELS).numbers == (label,)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("maybe", "row 2 has the label 'maybe'"),
        ("3", "row 2 has the label '3'"),
        ("True", "'True'"),
        ("1.5", "'1.5'"),
        ("²", "'²'"),
        ("99999999999999", "'99999999999999'"),
        (None, "row 2 has no label"),
        ("", "row 2 has no label"),
    ],
)
def test_another_label_is_an_error_that_names_row_and_labels(written: str | None, said: str) -> None:
    with pytest.raises(DataError, match="0 entailment, 1 contradiction, 2 neutral") as caught:
        class_numbers(labelled("neutral", written), LABELS)
    assert said in str(caught.value)


def test_numbers_follow_the_order_that_is_stated() -> None:
    order = ("entailment", "neutral", "contradiction")
    found = class_numbers(labelled("1", "neutral", "2"), LABELS, order)
    assert (found.numbers, found.order) == ((2, 2, 1), order)
    assert class_numbers(labelled("neutral"), LABELS).order is None
    assert class_numbers(labelled("1"), LABELS).order == LABELS
    with pytest.raises(DataError, match="not entailment, other"):
        class_numbers(labelled("1"), LABELS, ("entailment", "other"))


def test_names_that_are_numbers_are_names() -> None:
    assert class_numbers(labelled("2", "0", "2.0"), ("2", "1", "0")).numbers == (0, 2, 0)


def test_a_mark_for_no_gold_label_is_none() -> None:
    gold = [pair.gold for pair in labelled("neutral", "0", "-", "-1.0", " - ", "", None)]
    assert gold == [True, True, False, False, False, False, False]


def test_labels_may_be_missing_where_that_is_said() -> None:
    assert class_numbers(labelled(None, "neutral"), LABELS, optional=True).numbers == (None, 2)


def test_the_examples_of_numbers_and_of_a_missing_gold_label(cases: Path) -> None:
    numbers = read_labelled_pairs(cases / "labels-as-numbers.json")
    assert class_numbers(numbers, LABELS).numbers == (2, 0)
    missing = read_labelled_pairs(cases / "label-missing.tsv")
    assert class_numbers(missing, LABELS).numbers == (None, 0)
