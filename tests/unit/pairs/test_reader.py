"""Files of pairs as people have them: encodings, quoting, columns, and what is wrong in a row."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts.pairs.json_list import CHUNK, JsonList
from scripts.pairs.reader import PairFile

EXCEL = '번호,전제,가설\r\n1,"그는 ""아니""라고,\r\n말했다.",비가 온다.\r\n2,똠방각하 펲,  앞뒤 공백  \r\n'
"""As Excel writes it; the second row has syllables that EUC-KR lacks and CP949 has."""


def write(folder: Path, name: str, content: str, encoding: str = "utf-8") -> Path:
    file = folder / name
    file.write_bytes(content.encode(encoding))
    return file


def pairs(file: PairFile, start: int = 0) -> list[tuple[str, str] | str]:
    return [
        (row.pair.premise, row.pair.hypothesis) if isinstance(row.pair, SentencePair) else str(row.pair)
        for row in file.read(start)
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16"])
def test_csv_is_read_as_excel_writes_it(tmp_path: Path, encoding: str) -> None:
    file = PairFile.survey(write(tmp_path, "a.csv", EXCEL, encoding))
    assert file.encoding == encoding
    assert (file.rows, file.columns, file.texts) == (2, ("번호", "전제", "가설"), ("전제", "가설"))
    expected = [('그는 "아니"라고,\r\n말했다.', "비가 온다."), ("똠방각하 펲", "  앞뒤 공백  ")]
    assert pairs(file) == expected
    assert pairs(file, 1) == expected[1:]
    assert [row.cells["번호"] for row in file.read()] == ["1", "2"]


def test_tsv_takes_quotation_marks_as_they_are(tmp_path: Path) -> None:
    text = 'sentence1\tsentence2\n"네\t아니요"\n\n따옴표"\t"\n'
    assert pairs(PairFile.survey(write(tmp_path, "a.tsv", text))) == [('"네', '아니요"'), ('따옴표"', '"')]


@pytest.mark.parametrize("indent", [None, 2])
def test_json_and_json_lines_are_read(tmp_path: Path, indent: int | None) -> None:
    rows = [{"id": n, "premise": f"전제 {n}", "hypothesis": "가\u2028설", "n": [n]} for n in range(5000)]
    plain = PairFile.survey(write(tmp_path, "a.json", json.dumps(rows, ensure_ascii=False, indent=indent)))
    lines = PairFile.survey(
        write(tmp_path, "a.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    )
    for file in (plain, lines):
        assert file.rows == 5000
        assert file.columns == ("id", "premise", "hypothesis", "n")
        assert [row.cells for row in file.read(4990)] == rows[4990:]
        assert pairs(file, 4999) == [("전제 4999", "가\u2028설")]


def test_a_fault_stays_in_its_row(tmp_path: Path) -> None:
    text = "전제,가설\n비,해\n,해\n비\n비,해,달\n  ,해\n비,해\n"
    assert pairs(PairFile.survey(write(tmp_path, "a.csv", text))) == [
        ("비", "해"),
        "premise is blank",
        "hypothesis is missing",
        "the row has 3 cells, the header 2",
        "premise is blank",
        ("비", "해"),
    ]
    lines = ['{"premise": "비", "hypothesis": "해"}', "{", "[1]", '{"premise": 1, "hypothesis": "해"}']
    lines += ['{"premise": "\\ud800", "hypothesis": "해"}', '{"premise": NaN}']
    found = pairs(PairFile.survey(write(tmp_path, "a.jsonl", "\n".join(lines))))
    assert found[0] == ("비", "해")
    for reason, part in zip(
        found[1:], ["not JSON", "not an object", "a number", "surrogate", "NaN"], strict=True
    ):
        assert part in reason


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.xlsx", b"", ".csv"),
        ("a.csv", b"", "no rows"),
        ("a.csv", "전제,가설\n".encode(), "no rows"),
        ("a.csv", b"a,b\n1,2\n", "its columns are a, b"),
        ("a.csv", "전제,가설,가설\n1,2,3\n".encode(), "twice"),
        ("a.csv", '전제,가설\n1,2\n"1,2\n'.encode(), "after row 1"),
        ("a.csv", b"\xff\xff\xff,\n", "nor valid cp949"),
        ("a.json", b'{"premise": "1"}', "expected a list"),
        ("a.json", b'[{"premise": "1", "hypothesis": "2"}', "no end"),
        ("a.json", b'[{"premise": "1", "hypothesis": "2"} {', "follows"),
        ("a.json", b"[" * 100_000, "deep"),
    ],
)
def test_a_file_that_cant_be_read_is_refused_before_anything_is_asked(
    tmp_path: Path, name: str, content: bytes, named: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        PairFile.survey(tmp_path / name)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "Premise,hypothesis,질문\n1,2,3\n")
    assert PairFile.survey(path).texts == ("Premise", "hypothesis")
    assert PairFile.survey(path, hypothesis="질문").texts == ("Premise", "질문")
    for names in [{"premise": "없음"}, {"premise": "질문", "hypothesis": "질문"}]:
        with pytest.raises(ConfigurationError):
            PairFile.survey(path, **names)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner))


@given(elements=st.lists(JSON), chunk=st.integers(1, 9))
def test_a_json_list_is_read_as_json_reads_it(elements: list[Any], chunk: int) -> None:
    class Slow(io.StringIO):
        """Gives little at a time, so that every boundary falls into an element once."""

        def read(self, size: int | None = -1) -> str:
            return super().read(chunk if size else 0)

    text = json.dumps(elements, indent=1, ensure_ascii=False)
    assert list(JsonList(Slow(text), 2**20)) == elements


def test_an_element_without_end_doesnt_fill_the_memory() -> None:
    class Endless(io.StringIO):
        taken = 0

        def read(self, size: int | None = -1) -> str:
            self.taken += size or 0
            return "x" * (size or 0)

    file = Endless()
    file.taken = 0
    with pytest.raises(ValueError, match="list"):
        list(JsonList(file, 2**20))
    assert file.taken == CHUNK
