"""Topics: hypotheses, probabilities and the columns of texts that stand alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from handler.body import BodyHeaders
from handler.errors import ConfigurationError
from handler.request import SentencePair, parse_request
from handler.settings import HandlerSettings
from scripts.pairs.client import Client
from scripts.pairs.labelled import read_labelled_pairs
from scripts.pairs.reader import PairFile
from scripts.pairs.text_file import DataError
from scripts.pairs.topics import Topics

LABELS = ("neutral", "entailment", "contradiction")


def test_each_label_becomes_a_hypothesis() -> None:
    topics = Topics.of(" 정치, 경제,스포츠 ")
    assert topics.labels == ("정치", "경제", "스포츠")
    assert topics.hypotheses[2] == "이 글은 스포츠에 관한 글이다."
    assert Topics.of("ㄱ,{}", "{}: 글").hypotheses == ["ㄱ: 글", "{}: 글"]
    assert topics.pairs("글")[0] == SentencePair("글", "이 글은 정치에 관한 글이다.")


@pytest.mark.parametrize("labels", ["", "정치", "정치,", "정치,,경제", "정치,정치", ","])
def test_labels_that_are_no_choice_are_refused(labels: str) -> None:
    with pytest.raises(ConfigurationError, match="two or more different"):
        Topics.of(labels)


@pytest.mark.parametrize("template", ["글이다.", "{} {}", "{0}"])
def test_a_template_without_its_place_is_refused(template: str) -> None:
    with pytest.raises(ConfigurationError, match=r"must have \{\} once"):
        Topics.of("가,나", template)


def test_one_of_several_topics_by_its_share_of_entailment() -> None:
    answers = np.array([[[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]], [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    found = Topics.of("가,나").probabilities(answers, LABELS)
    assert found == pytest.approx(np.array([[0.75, 0.25], [0.5, 0.5]]))
    logarithms = np.log(answers[0, :, 1])
    assert found[0] == pytest.approx(np.exp(logarithms) / np.exp(logarithms).sum())


def test_each_of_several_topics_by_entailment_against_contradiction() -> None:
    answers = np.array([[0.1, 0.6, 0.3], [0.9, 0.02, 0.08]])
    found = Topics.of("가,나", multi=True).probabilities(answers, LABELS)
    assert found == pytest.approx(np.array([2 / 3, 0.2]))


def test_a_model_that_knows_no_entailment_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="labels entailment and contradiction"):
        Topics.of("가,나").probabilities(np.ones((2, 2)), ("same", "different"))


class Recorded:
    """A client whose service has the handler's limits."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def classify_many(self, premise: str, hypotheses: list[str]) -> list[dict[str, Any]]:
        self.asked.append(hypotheses)
        body = json.dumps({"premise": premise, "hypotheses": hypotheses}).encode()
        request = parse_request({"body": body}, BodyHeaders(), HandlerSettings())
        probabilities = {"entailment": 0.4, "contradiction": 0.3, "neutral": 0.3}
        return [{"probabilities": probabilities, "truncated": False, "model": {}} for _ in request.pairs]


@pytest.mark.parametrize(
    ("text", "largest"), [("가", 32), ("가" * 50_000, 12), ("\x01" * 50_000, 12), ("가" * 49_999 + "😀", 12)]
)
def test_a_request_has_as_many_hypotheses_as_the_service_takes_with_the_text(text: str, largest: int) -> None:
    topics = Topics.of(",".join(map(str, range(70))))
    client = Recorded()
    found = topics.ask(cast(Client, client), text)
    assert list(found["probabilities"]) == list(topics.labels)
    assert [each for asked in client.asked for each in asked] == topics.hypotheses
    assert max(map(len, client.asked)) == largest


@pytest.mark.parametrize(
    ("header", "named", "expected"),
    [
        ("번호,본문", None, "본문"),
        ("Text,label", None, "Text"),
        ("premise,text", None, "text"),
        ("기사", None, "기사"),
        ("기사,제목", "제목", "제목"),
    ],
)
def test_the_column_of_the_text_is_found(
    tmp_path: Path, header: str, named: str | None, expected: str
) -> None:
    file = tmp_path / "texts.csv"
    file.write_text(f"{header}\n가,나\n" if "," in header else f"{header}\n가\n", encoding="utf-8")
    source = PairFile.survey_texts(file, named)
    assert source.found.premise == expected
    (row,) = source.read()
    assert row.pair == SentencePair(row.cells[expected], row.cells[expected])


@pytest.mark.parametrize("named", [None, "글자"])
def test_a_column_that_is_missing_is_named(tmp_path: Path, named: str | None) -> None:
    file = tmp_path / "texts.csv"
    file.write_text("기사,제목\n가,나\n", encoding="utf-8")
    with pytest.raises(DataError, match="--text-column"):
        PairFile.survey_texts(file, named)


def test_labelled_texts_are_read(tmp_path: Path) -> None:
    file = tmp_path / "texts.csv"
    file.write_text("본문,label\n공을 찼다.,스포츠\n", encoding="utf-8")
    (row,) = read_labelled_pairs(file, single=True)
    assert (row.pair.premise, row.label) == ("공을 찼다.", "스포츠")
