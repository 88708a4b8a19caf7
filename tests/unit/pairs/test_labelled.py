"""Reading labelled pairs from the files in which they come."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts.pairs.labelled import LabelledPair, read_labelled_pairs

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


@pytest.mark.parametrize(("suffix", "text"), [(".json", KLUE), (".tsv", KORNLI), (".jsonl", LINES)])
def test_each_form_plain_with_a_byte_order_mark_and_gzipped(tmp_path: Path, suffix: str, text: str) -> None:
    plain, marked, packed = (tmp_path / name for name in ("a" + suffix, "b" + suffix, "c" + suffix + ".gz"))
    plain.write_text(text, encoding="utf-8")
    marked.write_text(text, encoding="utf-8-sig")
    packed.write_bytes(gzip.compress(text.encode()))
    for file in (plain, marked, packed):
        assert read_labelled_pairs(file) == EXPECTED


def test_a_label_may_be_missing(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"premise": "가", "hypothesis": "나"}', encoding="utf-8")
    assert read_labelled_pairs(file) == [LabelledPair(SentencePair("가", "나"), None)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "x", r"expected \.json, \.jsonl or \.tsv"),
        ("a.json", "{}", "expected a list"),
        ("a.json", "[", "not valid json"),
        ("a.json", "[]", "holds no pairs"),
        ("a.jsonl", '{"premise": "a"}', "row 0 lacks premise or hypothesis"),
        ("a.tsv", "premise\n가\n", "row 0 lacks"),
        ("a.jsonl.gz", "not gzipped", "can't be read"),
    ],
)
def test_what_can_not_be_read_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        read_labelled_pairs(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.json can't be read"):
        read_labelled_pairs(tmp_path / "none.json")
