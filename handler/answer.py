"""Probabilities → answers: the tutorial's nine fields, the same for programs, and the protocols' formats."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.errors import RequestError
from handler.explanation import Explanation
from handler.request import Request, SentencePair, Shape
from handler.sentences import DecidingSentence
from handler.tensors import EXPLANATION, INPUTS, Tensor

JSON = "application/json; charset=utf-8"

KOREAN = {"entailment": "참", "contradiction": "거짓", "neutral": "중립"}
"""The tutorial's words for its labels; a label of another name is shown as it is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The prediction for one pair."""

    pair: SentencePair
    probabilities: dict[str, float]
    """Unrounded, by label, in the order of the model's outputs."""
    truncated: bool
    explanation: Explanation | None = None
    """The weights of the words, where they were asked for."""
    sentence: DecidingSentence | None = None
    """The sentence of the premise that decided, where it was read by sentences."""

    @property
    def label(self) -> str:
        """The most probable label; the first of equals, as argmax has it."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Names of the model that answered."""

    name: str
    """The served model's own name, such as `demo` or `kcbert-nli`."""
    endpoint: str
    """Its name in URLs."""
    version: str


@dataclass(frozen=True, slots=True)
class Response:
    """A finished response to one request."""

    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers, name and value."""
    labels: tuple[str, ...] = ()
    """Predicted label of each pair, for the metrics."""


def make_answer(
    pair: SentencePair,
    labels: Sequence[str],
    probabilities: NDArray[np.float64],
    truncated: bool,
    explanation: Explanation | None = None,
    sentence: DecidingSentence | None = None,
) -> Answer:
    """Name the probabilities of one pair."""
    named = dict(zip(labels, probabilities.tolist(), strict=True))
    return Answer(pair, named, truncated, explanation, sentence)


def tutorial_fields(answer: Answer) -> dict[str, Any]:
    """The nine fields of the tutorial's answer, in its order.

    Both texts, ``prediction`` ("참 (entailment)"), and for each label ``…_data`` ("참 0.91") and ``…_width``
    ("91.0%", a CSS width). The tutorial's widths show float noise for 8 of the 101 values, such as
    28.999999999999996%; these don't.
    """
    rounded = {label: round(value, 2) for label, value in answer.probabilities.items()}
    label = answer.label
    fields: dict[str, Any] = {
        "premise": answer.pair.premise,
        "hypothesis": answer.pair.hypothesis,
        "prediction": f"{KOREAN[label]} ({label})" if label in KOREAN else label,
    }
    fields |= {f"{label}_data": f"{KOREAN.get(label, label)} {value}" for label, value in rounded.items()}
    return fields | {f"{label}_width": f"{round(value * 100)}.0%" for label, value in rounded.items()}


def describe_answer(answer: Answer, model: ModelIdentity) -> dict[str, Any]:
    """The fields of one answer: the tutorial's nine, the same for programs, and what else was asked for."""
    fields = tutorial_fields(answer) | {
        "label": answer.label,
        "probabilities": answer.probabilities,
        "truncated": answer.truncated,
        "model": {"name": model.name, "version": model.version},
    }
    if answer.sentence:
        fields["sentence"] = answer.sentence.describe()
    if answer.explanation:
        fields["explanation"] = describe_explanation(answer.explanation)
    return fields


def describe_explanation(explanation: Explanation) -> dict[str, Any]:
    """The words of both texts with their places and weights, and the number of words that aren't read."""
    weighed = {"premise": explanation.premise, "hypothesis": explanation.hypothesis}
    words = {
        name: [asdict(word) | {"weight": weight} for word, weight in each] for name, each in weighed.items()
    }
    return words | {"unread_words": dict(zip(words, explanation.unread, strict=True))}


def render(request: Request, answers: Sequence[Answer], model: ModelIdentity) -> Response:
    """The response to `request`, in the format of the request, as UTF-8 JSON."""
    labels = tuple(answer.label for answer in answers)
    if request.shape is Shape.KSERVE_V2:
        return replace(_render_tensors(request, answers, model), labels=labels)
    described = [describe_answer(answer, model) for answer in answers]
    body = {
        Shape.TUTORIAL: tutorial_fields(answers[0]),
        Shape.SINGLE: described[0],
        Shape.LIST: described,
        Shape.KSERVE_V1: {"explanations" if answers[0].explanation else "predictions": described},
    }[request.shape]
    return Response(_json(body), labels=labels)


def render_error(error: RequestError, for_kserve: bool) -> Response:
    """The response to a request that can't be answered; KServe's clients want another content type."""
    return Response(error.to_json(for_kserve), "application/json" if for_kserve else JSON, error.headers)


def render_metadata(labels: Sequence[str], model: ModelIdentity) -> Response:
    """The model's inputs and outputs, as KServe V2 describes a model."""
    body = {
        "name": model.endpoint,
        "versions": [model.version],
        "platform": "torchserve_mar",
        "inputs": [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in INPUTS],
        "outputs": [
            {"name": tensor.name, "datatype": tensor.datatype, "shape": [-1, *tensor.shape[1:]]}
            for tensor in _tensors([], labels)
        ],
    }
    return Response(_json(body))


def _render_tensors(request: Request, answers: Sequence[Answer], model: ModelIdentity) -> Response:
    """A KServe V2 response: the outputs asked for, in the JSON or as binary data behind it."""
    labels = list(answers[0].probabilities)
    body: dict[str, Any] = {"model_name": model.endpoint, "model_version": model.version}
    if request.id is not None:
        body["id"] = request.id
    # A parameter is a string, a number or a boolean, so the list of labels is JSON once more.
    body["parameters"] = {"labels": json.dumps(labels, ensure_ascii=False), "model": model.name}
    tensors = {tensor.name: tensor for tensor in _tensors(answers, labels)}
    if answers[0].explanation:
        tensors[EXPLANATION] = _explanation_tensor(answers)
    outputs: list[dict[str, Any]] = []
    chunks: list[bytes] = []
    for asked in request.outputs:
        tensor = tensors[asked.name]
        described = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if asked.binary:
            chunks.append(tensor.to_bytes())
            outputs.append(described | {"parameters": {"binary_data_size": len(chunks[-1])}})
        else:
            outputs.append(described | {"data": tensor.data})
    text = _json(body | {"outputs": outputs})
    if not chunks:
        return Response(text)
    length = ("Inference-Header-Content-Length", str(len(text)))
    return Response(b"".join([text, *chunks]), "application/octet-stream", (length,))


def _tensors(answers: Sequence[Answer], labels: Sequence[str]) -> list[Tensor]:
    """All outputs; the data of `probabilities` is row by row."""
    count = len(answers)
    values = [value for answer in answers for value in answer.probabilities.values()]
    return [
        Tensor("label", "BYTES", [count], [answer.label for answer in answers]),
        Tensor("probabilities", "FP64", [count, len(labels)], values),
        Tensor("truncated", "BOOL", [count], [answer.truncated for answer in answers]),
    ]


def _explanation_tensor(answers: Sequence[Answer]) -> Tensor:
    """The explanation of each pair as JSON text, as KServe's explainers have it."""
    explanations = [describe_explanation(answer.explanation) for answer in answers if answer.explanation]
    texts = [_json(each).decode() for each in explanations]
    return Tensor(EXPLANATION, "BYTES", [len(texts)], texts)


def _json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
