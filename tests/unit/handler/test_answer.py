"""Answers: the tutorial's nine fields to the letter, and each protocol's layout."""

from __future__ import annotations

import json

import numpy as np
import pytest

from handler.answer import Answer, ModelIdentity, describe_answer, make_answer, render
from handler.request import Request, SentencePair, Shape

LABELS = ("entailment", "contradiction", "neutral")
MODEL = ModelIdentity("tiny", "nli", "1.0")
PAIR = SentencePair("비가 온다.", "날씨가 <맑다>.")


def answer(*probabilities: float, labels: tuple[str, ...] = LABELS) -> Answer:
    return make_answer(PAIR, labels, np.array(probabilities), truncated=False)


def test_the_fields_of_an_answer() -> None:
    assert describe_answer(answer(0.9134, 0.06, 0.0266), MODEL) == {
        "premise": "비가 온다.",
        "hypothesis": "날씨가 <맑다>.",
        "prediction": "참 (entailment)",
        "entailment_data": "참 0.91",
        "contradiction_data": "거짓 0.06",
        "neutral_data": "중립 0.03",
        "entailment_width": "91.0%",
        "contradiction_width": "6.0%",
        "neutral_width": "3.0%",
        "label": "entailment",
        "probabilities": {"entailment": 0.9134, "contradiction": 0.06, "neutral": 0.0266},
        "truncated": False,
        "model": {"name": "tiny", "version": "1.0"},
    }


@pytest.mark.parametrize("hundredths", range(101))
def test_no_width_has_float_noise(hundredths: int) -> None:
    fields = describe_answer(answer(hundredths / 100, 0.0, 0.0), MODEL)
    assert fields["entailment_width"] == f"{hundredths}.0%"


def test_labels_of_another_corpus_are_shown_as_they_are() -> None:
    fields = describe_answer(answer(0.25, 0.75, labels=("different", "same")), MODEL)
    assert fields["prediction"] == "same"
    assert (fields["same_data"], fields["same_width"]) == ("same 0.75", "75.0%")


def test_a_tie_goes_to_the_first_label_as_argmax_has_it() -> None:
    assert answer(0.4, 0.4, 0.2).label == "entailment"


@pytest.mark.parametrize(
    ("shape", "keys"),
    [(Shape.SINGLE, "premise"), (Shape.KSERVE_V1, "predictions"), (Shape.KSERVE_V2, "outputs")],
)
def test_the_answer_is_laid_out_as_the_request_was(shape: Shape, keys: str) -> None:
    assert keys in json.loads(render(Request((PAIR,), shape), [answer(0.2, 0.3, 0.5)], MODEL))


def test_a_list_is_answered_by_a_list_in_utf8() -> None:
    body = render(Request((PAIR, PAIR), Shape.LIST), [answer(1, 0, 0), answer(0, 1, 0)], MODEL)
    assert [each["label"] for each in json.loads(body)] == ["entailment", "contradiction"]
    assert "참" in body.decode("utf-8")


def test_kserve_v2_tensors() -> None:
    request = Request((PAIR, PAIR), Shape.KSERVE_V2, "a-7")
    body = json.loads(render(request, [answer(0.5, 0.25, 0.25), answer(0.125, 0.125, 0.75)], MODEL))
    assert body["id"] == "a-7"
    assert (body["model_name"], body["model_version"]) == ("nli", "1.0")
    assert body["parameters"] == {"labels": list(LABELS), "model": "tiny"}
    label, probabilities, truncated = body["outputs"]
    assert (label["datatype"], label["shape"], label["data"]) == ("BYTES", [2], ["entailment", "neutral"])
    assert probabilities["shape"] == [2, 3]
    assert probabilities["data"] == [0.5, 0.25, 0.25, 0.125, 0.125, 0.75]
    assert truncated == {"name": "truncated", "datatype": "BOOL", "shape": [2], "data": [False, False]}


def test_what_is_not_finite_never_becomes_json() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        render(Request((PAIR,), Shape.KSERVE_V2), [Answer(PAIR, {"entailment": float("nan")}, False)], MODEL)
