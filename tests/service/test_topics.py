"""Topics of a file through a real service: each row once, also after a run that was stopped."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from handler.checkpoint import Checkpoint
from scripts import classify, evaluate
from scripts.pairs.evaluation import evaluate_checkpoint, evaluate_url
from scripts.pairs.labelled import read_labelled_pairs
from scripts.pairs.local_model import LocalModel
from scripts.pairs.topics import Topics
from tests.commands import call

LABELS = ["정치", "경제", "스포츠"]


def write_texts(file: Path, rows: int) -> Path:
    with file.open("w", encoding="cp949", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["번호", "본문", "정답"])
        for number in range(rows):
            text = " " if number == 5 else f"남자가 {number} 책을 읽는다. " * (1 + 40 * (number == 6))
            writer.writerow([number, text, LABELS[number % 3]])
    return file


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as source:
        return list(csv.DictReader(source))


@pytest.mark.parametrize("multi", [False, True])
def test_each_text_gets_its_topics(url: str, tiny_checkpoint: Path, tmp_path: Path, multi: bool) -> None:
    source, output = write_texts(tmp_path / "texts.csv", 70), tmp_path / "topics.csv"
    options: list[str | Path] = [
        "--input",
        source,
        "--output",
        output,
        "--labels",
        ",".join(LABELS),
        "--url",
        url,
    ]
    done = call(classify.main, *options, *(["--multi"] if multi else []))
    assert done.returncode == 0, done.stderr
    rows = rows_of(output)
    assert [row["번호"] for row in rows] == [str(number) for number in range(70)]
    blank = rows.pop(5)
    assert (blank["prediction"], blank["error"]) == ("", "premise is blank")
    assert [row["truncated"] for row in rows] == ["true" if row["번호"] == "6" else "false" for row in rows]
    topics = Topics.of(",".join(LABELS), multi=multi)
    found = {row["번호"]: [float(row[label]) for label in LABELS] for row in rows}
    if not multi:
        assert [sum(each) for each in found.values()] == pytest.approx([1] * 69, abs=1e-5)
    assert all(row["prediction"] == max(LABELS, key=lambda label: float(row[label])) for row in rows)
    expected = topics_in_process(tiny_checkpoint, topics, [row["본문"] for row in rows])
    assert list(found.values()) == [pytest.approx(each, abs=1e-4) for each in expected]
    assert "69 of" not in done.stdout
    assert "70 rows, 70 of them in this run" in done.stdout


def topics_in_process(checkpoint: Path, topics: Topics, texts: list[str]) -> list[list[float]]:
    model = LocalModel(Checkpoint.read(checkpoint), threads=1)
    pairs = [pair for text in texts for pair in topics.pairs(text)]
    answers = model.probabilities(pairs).reshape(len(texts), len(topics.labels), -1)
    return [list(each) for each in topics.probabilities(answers, model.checkpoint.labels)]


def test_another_template_doesn_t_continue_a_run(url: str, tmp_path: Path) -> None:
    source, output = write_texts(tmp_path / "texts.csv", 4), tmp_path / "topics.jsonl"
    state = {"rows": 0, "bytes": 0, "counts": {}, "task": {"template": "{}"}}
    output.with_name("topics.jsonl.progress").write_text(json.dumps(state), encoding="utf-8")
    output.with_name("topics.jsonl.part").touch()
    options: list[str | Path] = ["--input", source, "--output", output, "--labels", "가,나", "--url", url]
    done = call(classify.main, *options)
    assert done.returncode == 1
    assert "template" in done.stderr
    assert call(classify.main, *options, "--force").returncode == 0
    first = json.loads(output.read_text(encoding="utf-8").splitlines()[0])
    assert first["prediction"] in ("가", "나")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--labels", "가,나"], 2, "--labels needs --input"),
        (["가", "나", "--multi"], 2, "need --labels"),
        (["--labels", "가", "--input", "texts.csv", "--output", "o.csv"], 1, "two or more different"),
        (["--labels", "", "--input", "texts.csv", "--output", "o.csv"], 1, "two or more different"),
        (
            ["--labels", "가,error", "--input", "texts.csv", "--output", "o.csv"],
            1,
            "no label may be named 'error'",
        ),
        (
            ["--labels", "가,본문", "--input", "texts.csv", "--output", "o.csv"],
            1,
            "already has a column 본문",
        ),
        (["--labels", "가,나", "--input", "texts.csv", "--output", "o.csv", "--text-column", "x"], 1, "번호"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    write_texts(tmp_path / "texts.csv", 3)
    monkeypatch.chdir(tmp_path)
    done = call(classify.main, *arguments, "--url", url)
    assert done.returncode == code
    assert said in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["texts.csv"]


def test_topics_are_measured_alike_through_the_service_and_in_process(
    url: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    file = tmp_path / "texts.jsonl"
    rows = [{"text": f"책을 {n} 읽는다.", "label": LABELS[min(n % 4, 2)]} for n in range(40)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    topics = Topics.of(",".join(LABELS))
    pairs = read_labelled_pairs(file, single=True)
    served, local = (
        evaluate_url(url, pairs, topics=topics),
        evaluate_checkpoint(tiny_checkpoint, pairs, topics=topics),
    )
    assert served.confusion == local.confusion
    assert (served.labels, served.most_frequent) == (tuple(LABELS), 0.5)
    done = call(evaluate.main, "--data", file, "--labels", ",".join(LABELS), "--url", url)
    assert f"{served.accuracy:.2%} (always the most frequent: 50.00%)" in done.stdout
