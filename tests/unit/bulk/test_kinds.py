"""Each kind of file, through a real model in this process: what is written, and what a check finds."""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.errors import ConfigurationError
from scripts.bulk import kinds
from scripts.bulk.folder import Folder
from scripts.bulk.fragments import Fragment, Job
from scripts.bulk.inputs import cut
from scripts.bulk.kinds import Predict
from scripts.bulk.model import ArchiveModel
from scripts.pairs.text_file import DataError
from tests.making import some_pairs

LABELS = ("entailment", "contradiction", "neutral")
WHY = "scripts/setup bulk installs it"

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def predict(tiny_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Predict:
    folder = tmp_path_factory.mktemp("unpacked")
    zipfile.ZipFile(tiny_archive).extractall(folder)
    return ArchiveModel(folder).predict


def write_csv(file: Path, rows: Rows) -> None:
    with file.with_suffix(".csv").open("w", encoding="cp949", newline="") as target:
        writer = csv.DictWriter(target, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(file: Path, rows: Rows) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    file.with_suffix(".jsonl").write_text(text, encoding="utf-8")


def write_parquet(file: Path, rows: Rows) -> None:
    pa = pytest.importorskip("pyarrow", reason=WHY)
    table = pa.Table.from_pylist([row | {"x": float("nan"), "list": [1, None]} for row in rows])
    table = table.set_column(1, "premise", table.column("premise").dictionary_encode())
    pytest.importorskip("pyarrow.parquet").write_table(table, file.with_suffix(".parquet"), row_group_size=7)


def read(file: Path) -> Rows:
    if file.suffix == ".parquet":
        rows: Rows = pytest.importorskip("pyarrow.parquet").read_table(file).to_pylist()
        return rows
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.DictReader(text.splitlines()))


def twenty_rows() -> Rows:
    rows: Rows = [
        {"id": number, "premise": pair.premise, "hypothesis": pair.hypothesis}
        for number, pair in enumerate(some_pairs(20))
    ]
    rows[3]["premise"] = " "
    rows[5]["hypothesis"] = "비" * 50_001
    return rows


@pytest.fixture(params=[write_csv, write_jsonl, write_parquet], ids=["csv", "jsonl", "parquet"])
def done(
    request: pytest.FixtureRequest, predict: Predict, tmp_path: Path
) -> tuple[list[Fragment], Job, Counter[str]]:
    """An input of twenty rows in two fragments, or one of text, and its output."""
    write: Callable[[Path, Rows], None] = request.param
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "pairs", twenty_rows())
    source, output = Folder(str(tmp_path / "in")), Folder(str(tmp_path / "out"))
    (name,) = source.names()
    file = kinds.survey(source, name, None, None)
    job = Job(source, output, file.premise, file.hypothesis, LABELS)
    fragments = cut([file], largest=14)
    counts: Counter[str] = Counter()
    for fragment in fragments:
        with output.write(fragment.part) as target:
            counts += kinds.kind_of(name).classify(fragment, job, predict, target)
    return fragments, job, counts


Done = tuple[list[Fragment], Job, Counter[str]]


def parts(done: Done) -> list[Path]:
    return [Path(done[1].output.root, fragment.part) for fragment in done[0]]


def test_rows_come_out_in_order_with_predictions_or_the_services_words_for_a_fault(done: Done) -> None:
    rows = [row for part in parts(done) for row in read(part)]
    assert [int(row["id"]) for row in rows] == list(range(20))
    assert list(rows[0])[-7:] == ["prediction", *LABELS, "truncated", "model", "error"]
    assert rows[3]["error"] == "premise is blank"
    assert rows[5]["error"] == "hypothesis has 50001 characters; at most 50000 are allowed"
    assert not rows[3]["prediction"]
    good = [row for row in rows if not row["error"]]
    assert len(good) == 18
    for row in good:
        assert row["prediction"] == max(LABELS, key=lambda label: float(row[label]))
        assert row["model"] == "tiny 1.0"


def test_a_check_finds_the_same_counts(done: Done) -> None:
    fragments, job, counts = done
    found: Counter[str] = Counter()
    for fragment in fragments:
        checked = kinds.check(fragment, job)
        assert isinstance(checked, Counter), checked
        found += checked
    assert found == counts
    assert (counts["rows"], counts["error"]) == (20, 2)


def test_a_check_finds_rows_that_changed_places(done: Done) -> None:
    fragments, job, _ = done
    part = parts(done)[0]
    if part.suffix == ".parquet":
        pq = pytest.importorskip("pyarrow.parquet")
        table = pq.read_table(part)
        pq.write_table(table.take([1, 0, *range(2, len(table))]), part)
    else:
        lines = part.read_bytes().splitlines(keepends=True)
        part.write_bytes(b"".join([*lines[:1], lines[2], lines[1], *lines[3:]]))
    assert "isn't the input's" in str(kinds.check(fragments[0], job))


def test_a_check_finds_a_file_that_is_cut_off(done: Done) -> None:
    fragments, job, _ = done
    part = parts(done)[0]
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    assert fragments[0].part in str(kinds.check(fragments[0], job))


@pytest.mark.parametrize("rows", [twenty_rows()[:5], twenty_rows()[::-1]], ids=["fewer", "as many"])
def test_an_input_that_changed_since_its_survey_is_refused(rows: Rows, done: Done, predict: Predict) -> None:
    (fragment, *_), job, _ = done
    file = Path(job.source.root, fragment.source)
    {".csv": write_csv, ".jsonl": write_jsonl, ".parquet": write_parquet}[file.suffix](file, rows)
    with pytest.raises(DataError, match="changed"), job.output.write("parts/x") as target:
        kinds.kind_of(fragment.source).classify(fragment, job, predict, target)
    assert not job.output.exists("parts/x")


def test_an_input_with_a_column_of_the_predictions_is_refused(predict: Predict, tmp_path: Path) -> None:
    rows = [row | {"neutral": 1} for row in twenty_rows()]
    for write in (write_csv, write_parquet):
        folder = tmp_path / write.__name__
        folder.mkdir()
        write(folder / "pairs", rows)
        source = Folder(str(folder))
        (name,) = source.names()
        (fragment, *_) = cut([kinds.survey(source, name, None, None)])
        job = Job(source, Folder(str(tmp_path / "out")), "premise", "hypothesis", LABELS)
        with pytest.raises(ConfigurationError, match="neutral"), job.output.write("parts/x") as target:
            kinds.kind_of(name).classify(fragment, job, predict, target)


def test_text_that_is_not_utf_8_is_a_fault_of_its_row(predict: Predict, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason=WHY)
    texts = pa.array([b"\xed\x95\x9c", b"\xff\xfe", None]).cast(pa.binary()).view(pa.string())
    table = pa.table({"premise": texts, "hypothesis": ["비가 온다."] * 3})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "a.parquet")
    source = Folder(str(tmp_path))
    (fragment,) = cut([kinds.survey(source, "a.parquet", None, None)])
    job = Job(source, Folder(str(tmp_path / "out")), "premise", "hypothesis", LABELS)
    with job.output.write(fragment.part) as target:
        kinds.kind_of("a.parquet").classify(fragment, job, predict, target)
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(tmp_path / "out" / fragment.part, columns=["prediction", "error"])
    assert table.column("error").to_pylist() == [
        None,
        "premise has a lone surrogate at character 0",
        "premise is missing",
    ]


def test_columns_of_numbers_are_refused_by_name(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason=WHY)
    table = pa.table({"premise": [1], "hypothesis": ["비가 온다."]})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="'premise' is int64"):
        kinds.survey(Folder(str(tmp_path)), "a.parquet", None, None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", "전제,가설\n".encode()),
        ("a.jsonl", b"\n"),
        ("a.json", b""),
        ("a.json", b"[]"),
        ("a.json.gz", gzip.compress(b"")),
    ],
)
def test_a_file_of_text_without_rows_gives_no_part(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    file = kinds.survey(Folder(str(tmp_path)), name, None, None)
    assert (file.rows, cut([file])) == (0, [])


def test_a_fault_says_nothing_of_what_a_file_holds() -> None:
    with pytest.raises(DataError) as caught, kinds.faults_named("a.parquet"):
        "비밀".encode("ascii")
    assert str(caught.value) == "a.parquet can't be processed: UnicodeEncodeError"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "secret,또 secret\n해,비\n", "no known column for the premise; it has 2 columns"),
        ("a.csv", '전제,가설\n"secret"secret,비\n', "not valid csv after row 0"),
        ("a.json", "[secret]", "not valid json after row 0"),
        ("a.json", '{"secret": [{"a": 1}], "나": [{"a": 1}]}', "not valid json after row 1"),
        ("a.jsonl", '{"premise": secret}', "holds no pairs"),
    ],
)
def test_a_file_that_is_refused_is_not_quoted(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=f"{name}.*{said}") as caught:
        kinds.survey(Folder(str(tmp_path)), name, None, None)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value.__dict__)
