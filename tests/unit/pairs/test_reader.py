"""Files of pairs as people have them: encodings, quoting, columns, labels, and what is wrong in a row."""

from __future__ import annotations

import gzip
import json
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.request import SentencePair
from scripts.pairs.reader import KINDS, PairFile
from scripts.pairs.text_file import DataError

EXCEL = '번호,전제,가설\r\n1,"그는 ""아니""라고,\r\n말했다.",비가 온다.\r\n2,똠방각하 펲,  앞뒤 공백  \r\n'
"""As Excel writes it; the second row has syllables that EUC-KR lacks and CP949 has."""

EXCEL_ROWS = [('그는 "아니"라고,\r\n말했다.', "비가 온다."), ("똠방각하 펲", "  앞뒤 공백  ")]

UNICODE_TEXT = (
    '전제\t가설\r\n"그는 ""네, 간다""라고 했다."\t간다.\r\n"두\n줄"\t한 줄\r\n비가 온다.\t"네, 와요."\r\n'
)
"""As Excel writes "유니코드 텍스트": cells with a comma are quoted too."""

UNICODE_TEXT_ROWS = [
    ('그는 "네, 간다"라고 했다.', "간다."),
    ("두\n줄", "한 줄"),
    ("비가 온다.", "네, 와요."),
]


def write(folder: Path, name: str, content: str, encoding: str = "utf-8") -> Path:
    file = folder / name
    file.write_bytes(content.encode(encoding))
    return file


def pairs(file: PairFile, start: int = 0) -> list[tuple[str, str] | str]:
    return [
        (row.pair.premise, row.pair.hypothesis) if isinstance(row.pair, SentencePair) else str(row.pair)
        for row in file.read(start)
    ]


def read(folder: Path, name: str, content: str, encoding: str = "utf-8") -> list[tuple[str, str] | str]:
    return pairs(PairFile.survey(write(folder, name, content, encoding)))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_csv_is_read_as_excel_writes_it(tmp_path: Path, encoding: str) -> None:
    file = PairFile.survey(write(tmp_path, "a.csv", EXCEL, encoding))
    assert (file.file.encoding, file.rows, file.columns) == (encoding, 2, ("번호", "전제", "가설"))
    assert pairs(file) == EXCEL_ROWS
    assert pairs(file, 1) == EXCEL_ROWS[1:]
    assert [(row.number, row.cells["번호"]) for row in file.read()] == [(1, "1"), (2, "2")]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "가,나 'b'.csv", "a.CSV"])
@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_the_header_shows_the_delimiter(tmp_path: Path, name: str, delimiter: str) -> None:
    text = f'번호{delimiter}전제{delimiter}가설\n1{delimiter}"가{delimiter}나"{delimiter}다\n'
    assert read(tmp_path, name, text) == [(f"가{delimiter}나", "다")]


def test_excels_line_that_states_the_delimiter_is_no_header(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", "sep=;\r\n전제;가설\r\n가, 나;다\r\n") == [("가, 나", "다")]


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "cp949"])
def test_excels_unicode_text_is_read_as_excel_shows_it(tmp_path: Path, name: str, encoding: str) -> None:
    assert read(tmp_path, name, UNICODE_TEXT, encoding) == UNICODE_TEXT_ROWS


def test_the_example_of_excels_unicode_text(cases: Path) -> None:
    rows = list(PairFile.survey(cases / "excel-unicode-text.txt").read())
    texts = [row.pair.premise for row in rows if isinstance(row.pair, SentencePair)]
    assert [text.count('"') for text in texts] == [2, 0, 0]
    assert [text.count("\n") for text in texts] == [0, 1, 0]


def test_a_tsv_of_pandas_is_unquoted(tmp_path: Path) -> None:
    minimal = 'premise\thypothesis\n"그는 ""네""라고 했다."\t쉼표, 그리고\n"탭\t하나"\t"두\n줄"\n'
    rows = [('그는 "네"라고 했다.', "쉼표, 그리고"), ("탭\t하나", "두\n줄")]
    assert read(tmp_path, "a.tsv", minimal) == rows
    assert read(tmp_path, "b.tsv", '"premise"\t"hypothesis"\n"가"\t"나 ""다"""\n') == [("가", '나 "다"')]


@pytest.mark.parametrize("name", ["a.tsv", "a.txt"])
@pytest.mark.parametrize("encoding", ["utf-8", "cp949", "utf-16"])
@pytest.mark.parametrize(
    "rows",
    [
        [('"네', '아니요"'), ('따옴표"', '"')],
        [('"네"', "쉼표, 하나")],
        [('"그는', "간다"), ('온다"', "간다")],
        [('"그는', "간다"), ('온다""', '"간다"')],
        [('"네" 그가 말했다.', "그가 말했다.")],
    ],
)
def test_kornlis_quotation_marks_belong_to_the_text(
    tmp_path: Path, name: str, encoding: str, rows: list[tuple[str, str]]
) -> None:
    text = "sentence1\tsentence2\n\n" + "".join(f"{first}\t{second}\n" for first, second in rows)
    assert read(tmp_path, name, text, encoding) == rows


def test_a_quoted_comma_in_utf8_is_no_sign_of_excel(tmp_path: Path) -> None:
    text = 'sentence1\tsentence2\n"네, 가요."\t간다\n'
    assert read(tmp_path, "a.tsv", text) == [('"네, 가요."', "간다")]
    assert read(tmp_path, "a.txt", text, "utf-16") == [("네, 가요.", "간다")]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_json_and_json_lines_are_read(tmp_path: Path, indent: int | None, packed: bool) -> None:
    rows = [{"id": n, "premise": f"전제 {n}", "hypothesis": "가\u2028설", "n": [n / 2]} for n in range(300)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    texts = {
        "a.json": json.dumps(rows, ensure_ascii=False, indent=indent),
        "b.json": json.dumps(
            {"version": 1.5, "labels": ["x"], "data": rows, "of": {"a": [1]}}, indent=indent
        ),
        "c.json": lines,
        "d.jsonl": lines,
    }
    for name, text in texts.items():
        path = tmp_path / (name + ".gz" * packed)
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        file = PairFile.survey(path)
        assert (file.rows, file.columns) == (300, ("id", "premise", "hypothesis", "n"))
        assert [row.cells for row in file.read(290)] == rows[290:]
        assert pairs(file, 299) == [("전제 299", "가\u2028설")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp949", "utf-16", "utf-16-le", "utf-16-be"])
def test_json_is_read_in_each_encoding(tmp_path: Path, encoding: str) -> None:
    row = '{"premise": "가나", "hypothesis": "다"}'
    for name, text in (("a.json", f"[{row}]"), ("b.jsonl", row), ("c.json", f'{{"data": [{row}]}}')):
        assert read(tmp_path, name, text, encoding) == [("가나", "다")]


def test_a_fault_stays_in_its_row(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", "전제,가설\n비,해\n,해\n비\n비,해,달\n  ,해\n비,해\n") == [
        ("비", "해"),
        "premise is blank",
        "hypothesis is missing",
        "the row has 3 cells, the header 2",
        "premise is blank",
        ("비", "해"),
    ]
    lines = ['{"premise": "비", "hypothesis": "해"}', "{", "[1]", '{"premise": 1, "hypothesis": "해"}']
    lines += [
        '{"premise": "\\ud800", "hypothesis": "해"}',
        '{"premise": NaN}',
        '{"a": 1e999}',
        '{"a": [-1e999]}',
    ]
    found = read(tmp_path, "a.jsonl", "\n".join(lines))
    assert found[0] == ("비", "해")
    reasons = ["not JSON", "not an object", "a number", "surrogate", "NaN", "too large", "too large"]
    for reason, part in zip(found[1:], reasons, strict=True):
        assert part in reason


PAIR = '{"premise": "1", "hypothesis": "2"}'


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.xlsx", b"", "CSV UTF-8"),
        ("a.doc", b"", "expected .csv"),
        ("a.csv", b"", "no rows"),
        ("a.csv", "전제,가설\n".encode(), "no rows"),
        ("a.csv", b"a,b\n1,2\n", "its columns are a, b"),
        ("a.csv", "전제,가설,가설\n1,2,3\n".encode(), "twice"),
        ("a.csv", '전제,가설\n1,2\n"1,2\n'.encode(), "after row 1"),
        ("a.csv", b"\xff\xff\xff,\n", "nor valid cp949"),
        ("a.csv", b"\xff\xfe\x00\xd8", "not valid utf-16"),
        ("a.json", b"", "no rows"),
        ("a.json", b'{"premise": "1"}', "expected a list"),
        ("a.json", b'{"premise": {"0": "1"}, "hypothesis": {"0": "2"}}', "expected a list"),
        ("a.json", b'"premise"', "expected a list"),
        ("a.json", b'{"train": [{"a": 1}], "dev": [{"a": 1}]}', "lists under train and dev"),
        ("a.json", b"[]", "no rows"),
        ("a.json", b'{"data": []}', "expected a list"),
        ("a.json", f"[{PAIR}".encode(), "after row 1"),
        ("a.json", f"[{PAIR} {{".encode(), "Unexpected symbol '{'"),
        ("a.json", f"[{PAIR}] x".encode(), "after row 1"),
        ("a.json", f"[{PAIR}, NaN]".encode(), "Unexpected symbol 'N'"),
        ("a.json", b'[{"a": 1e999}]', "'1e999'"),
        ("a.json", b'[{"a": -1e999}]', "too large"),
        ("a.json", b"[" * 100_000, "deep"),
        ("a.json", b'[{"a": ' + b"9" * 10_000, "Unexpected symbol"),
        ("a.jsonl.gz", b"not gzipped", "not JSON"),
        ("a.json.gz", gzip.compress(PAIR.encode() * 100)[:-20], "can't be read"),
        ("a.csv.gz", gzip.compress(b"a,b\n")[:10] + b"x" * 30, "can't be read"),
    ],
)
def test_a_file_that_cant_be_read_is_refused_before_anything_is_asked(
    tmp_path: Path, name: str, content: bytes, named: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        PairFile.survey(tmp_path / name)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name in ("none.json", "folder.csv"):
        with pytest.raises(DataError, match=rf"{name} can't be read"):
            PairFile.survey(tmp_path / name)


@pytest.mark.parametrize("start", ['[{"premise": "', "x", '전제,가설\n"'])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.tsv", "a.csv"])
def test_a_row_without_end_doesnt_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, start: str
) -> None:
    for module in ("text_file", "json_rows", "delimited"):
        monkeypatch.setattr(f"scripts.pairs.{module}.LARGEST_ROW", 2**20)
    file = write(tmp_path, name, start + "가" * 2**21)
    with pytest.raises(DataError):
        PairFile.survey(file)


def test_a_list_on_one_line_may_be_longer_than_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("text_file", "json_rows"):
        monkeypatch.setattr(f"scripts.pairs.{module}.LARGEST_ROW", 2**19)
    rows = [{"premise": "가" * 1000, "hypothesis": "나"}] * 2000
    for content in (rows, {"data": rows}):
        file = write(tmp_path, "a.json", json.dumps(content, ensure_ascii=False))
        assert PairFile.survey(file).rows == 2000


def test_a_file_that_changes_while_it_is_read_ends_the_reading_with_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", json.dumps([{"premise": "가", "hypothesis": "나"}] * 3))
    file = PairFile.survey(path)
    path.write_text("[1", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.json is not valid json"):
        list(file.read())
    path.unlink()
    with pytest.raises(DataError, match="can't be read"):
        list(file.read())


PIECES = [
    '"',
    "\t",
    ",",
    ";",
    "\n",
    "\r\n",
    "{",
    "}",
    "[",
    "]",
    ":",
    "premise",
    '"hypothesis"',
    "전제",
    "가",
    "1e999",
]
PIECES += ["NaN", "\\ud800", "\\", "null", "-", "sep=;\n", "\0", "\ufeff"]
STARTS = [
    "",
    "premise\thypothesis\n",
    "전제,가설\n",
    f"[{PAIR},",
    f"{PAIR}\n",
    f'{{"data": [{PAIR}',
    "[",
    "{",
]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(STARTS),
    st.lists(st.sampled_from(PIECES), max_size=20).map("".join),
    st.sampled_from(["utf-8", "cp949", "utf-16", "utf-16-be"]),
    st.sampled_from(KINDS),
    st.binary(max_size=3),
)
def test_whatever_a_file_holds_it_is_read_or_refused_in_one_line(
    start: str, rest: str, encoding: str, kind: str, end: bytes
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a{kind}"
        path.write_bytes((start + rest).encode(encoding, errors="ignore") + end)
        refusal = ""
        try:
            list(PairFile.survey(path).read())
        except DataError as error:
            refusal = str(error)
        assert "\n" not in refusal
        assert len(refusal) < 300


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "Premise,hypothesis,질문\n1,2,3\n")
    assert pairs(PairFile.survey(path)) == [("1", "2")]
    for name in ("질문", unicodedata.normalize("NFD", "질문")):
        assert pairs(PairFile.survey(path, hypothesis=name)) == [("1", "3")]
    for names in [("없음", None), ("질문", "질문")]:
        with pytest.raises(DataError):
            PairFile.survey(path, *names)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_header_in_decomposed_hangul_is_found(tmp_path: Path, name: str) -> None:
    header, other = unicodedata.normalize("NFD", "전제,가설"), unicodedata.normalize("NFD", "질문")
    cells = dict(zip([*header.split(","), other], "가나다", strict=True))
    text = f"{','.join(cells)}\n가,나,다\n" if name == "a.csv" else json.dumps(cells)
    path = write(tmp_path, name, text)
    assert pairs(PairFile.survey(path)) == [("가", "나")]
    assert pairs(PairFile.survey(path, premise="질문")) == [("다", "나")]


def test_the_example_of_a_decomposed_header(cases: Path) -> None:
    file = PairFile.survey(cases / "nfd-header.csv")
    assert (file.found.premise, file.found.hypothesis) == file.columns
    assert [isinstance(row.pair, SentencePair) for row in file.read()] == [True]
