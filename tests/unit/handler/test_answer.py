"""Answers: the tutorial's nine fields to the letter, and each protocol's layout."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from handler.answer import (
    Answer,
    ModelIdentity,
    describe_answer,
    make_answer,
    render,
    render_error,
    render_metadata,
)
from handler.errors import InvalidPair
from handler.request import Request, SentencePair, Shape
from handler.tensors import OUTPUTS, RequestedOutput

LABELS = ("entailment", "contradiction", "neutral")
MODEL = ModelIdentity("tiny", "nli", "1.0")
PAIR = SentencePair("비가 온다.", "날씨가 <맑다>.")
TENSORS = Request((PAIR, PAIR), Shape.KSERVE_V2, "a-7", tuple(RequestedOutput(name) for name in OUTPUTS))


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
    assert keys in json.loads(render(Request((PAIR,), shape), [answer(0.2, 0.3, 0.5)], MODEL).body)


def test_a_list_is_answered_by_a_list_in_utf8() -> None:
    response = render(Request((PAIR, PAIR), Shape.LIST), [answer(1, 0, 0), answer(0, 1, 0)], MODEL)
    assert [each["label"] for each in json.loads(response.body)] == ["entailment", "contradiction"]
    assert "참" in response.body.decode("utf-8")
    assert response.labels == ("entailment", "contradiction")
    assert response.content_type == "application/json; charset=utf-8"


def test_kserve_v2_tensors() -> None:
    response = render(TENSORS, [answer(0.5, 0.25, 0.25), answer(0.125, 0.125, 0.75)], MODEL)
    assert (response.headers, response.labels) == ((), ("entailment", "neutral"))
    body = json.loads(response.body)
    assert body["id"] == "a-7"
    assert (body["model_name"], body["model_version"]) == ("nli", "1.0")
    assert json.loads(body["parameters"].pop("labels")) == list(LABELS)
    assert body["parameters"] == {"model": "tiny"}
    label, probabilities, truncated = body["outputs"]
    assert (label["datatype"], label["shape"], label["data"]) == ("BYTES", [2], ["entailment", "neutral"])
    assert probabilities["shape"] == [2, 3]
    assert probabilities["data"] == [0.5, 0.25, 0.25, 0.125, 0.125, 0.75]
    assert truncated == {"name": "truncated", "datatype": "BOOL", "shape": [2], "data": [False, False]}


def test_only_the_outputs_asked_for_are_sent_as_they_are_asked_for() -> None:
    asked = (
        RequestedOutput("truncated", binary=True),
        RequestedOutput("label"),
        RequestedOutput("probabilities", binary=True),
    )
    response = render(replace(TENSORS, outputs=asked), [answer(0.5, 0.25, 0.25), answer(0, 0, 1)], MODEL)
    assert response.content_type == "application/octet-stream"
    ((name, length),) = response.headers
    assert name == "Inference-Header-Content-Length"
    truncated, label, probabilities = json.loads(response.body[: int(length)])["outputs"]
    assert truncated == {
        "name": "truncated", "datatype": "BOOL", "shape": [2], "parameters": {"binary_data_size": 2}
    }  # fmt: skip
    assert label["data"] == ["entailment", "neutral"]
    assert (probabilities["shape"], probabilities["parameters"]) == ([2, 3], {"binary_data_size": 48})
    values = np.array([0.5, 0.25, 0.25, 0, 0, 1], "<f8")
    assert response.body[int(length) :] == b"\0\0" + values.tobytes()


def test_labels_as_binary_data_have_their_length_before_them() -> None:
    request = replace(TENSORS, outputs=(RequestedOutput("label", binary=True),))
    made = [answer(1, 0, labels=("참", "b")), answer(0, 1, labels=("참", "b"))]
    assert render(request, made, MODEL).body.endswith(b"\x03\0\0\0" + "참".encode() + b"\x01\0\0\0b")


def test_the_model_describes_its_tensors() -> None:
    response = render_metadata(LABELS, MODEL)
    body = json.loads(response.body)
    assert (body["name"], body["versions"]) == ("nli", ["1.0"])
    assert [tensor["name"] for tensor in body["inputs"]] == ["premise", "hypothesis"]
    assert body["outputs"][1] == {"name": "probabilities", "datatype": "FP64", "shape": [-1, 3]}


def test_an_error_has_the_key_and_the_content_type_that_kserves_clients_read() -> None:
    error = InvalidPair("premise is blank")
    plain, kserve = render_error(error, for_kserve=False), render_error(error, for_kserve=True)
    assert plain.content_type == "application/json; charset=utf-8"
    assert json.loads(plain.body) == {"code": 400, "type": "invalid_pair", "message": "premise is blank"}
    assert kserve.content_type == "application/json"
    assert json.loads(kserve.body) == json.loads(plain.body) | {"error": "premise is blank"}


@pytest.mark.parametrize("shape", [Shape.SINGLE, Shape.KSERVE_V2])
def test_what_is_not_finite_never_becomes_json(shape: Shape) -> None:
    request = replace(TENSORS, shape=shape)
    with pytest.raises(ValueError, match=r"cannot convert float NaN|JSON compliant"):
        render(request, [Answer(PAIR, {"entailment": float("nan")}, False)], MODEL)
