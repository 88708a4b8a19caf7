"""Probabilities → answers: the tutorial's nine fields, the same for programs, and the protocols' formats."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.request import Request, SentencePair, Shape

KOREAN = {"entailment": "참", "contradiction": "거짓", "neutral": "중립"}
"""The tutorial's words for its labels; a label of another name is shown as it is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one pair."""

    pair: SentencePair
    probabilities: dict[str, float]
    """Unrounded, by label, in the order of the model's outputs."""
    truncated: bool

    @property
    def label(self) -> str:
        """The most probable label; the first of equals, as argmax has it."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model answered."""

    name: str
    """The served model's own name, such as `demo` or `kcbert-nli`."""
    endpoint: str
    """Its name in URLs."""
    version: str


@dataclass(frozen=True, slots=True)
class Response:
    """A finished response to one request."""

    body: bytes
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers, name and value."""
    labels: tuple[str, ...] = ()
    """Predicted label of each pair, for the metrics."""


def make_answer(
    pair: SentencePair, labels: Sequence[str], probabilities: NDArray[np.float64], truncated: bool
) -> Answer:
    """Name the probabilities of one pair."""
    return Answer(pair, dict(zip(labels, probabilities.tolist(), strict=True)), truncated)


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
    """The fields of one answer: the tutorial's nine, then the same for programs."""
    return tutorial_fields(answer) | {
        "label": answer.label,
        "probabilities": answer.probabilities,
        "truncated": answer.truncated,
        "model": {"name": model.name, "version": model.version},
    }


def render(request: Request, answers: Sequence[Answer], model: ModelIdentity) -> bytes:
    """The body that answers `request`, in the format of the request, as UTF-8 JSON."""
    body: Any
    if request.shape is Shape.KSERVE_V2:
        body = _tensors(request, answers, model)
    elif request.shape is Shape.TUTORIAL:
        body = tutorial_fields(answers[0])
    else:
        described = [describe_answer(answer, model) for answer in answers]
        body = {
            Shape.SINGLE: described[0],
            Shape.LIST: described,
            Shape.KSERVE_V1: {"predictions": described},
        }[request.shape]
    return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()


def _tensors(request: Request, answers: Sequence[Answer], model: ModelIdentity) -> dict[str, Any]:
    """A KServe V2 response: labels, probabilities (row-major) and truncation as tensors."""
    count = len(answers)
    labels = list(answers[0].probabilities)
    values = [value for answer in answers for value in answer.probabilities.values()]
    body: dict[str, Any] = {"model_name": model.endpoint, "model_version": model.version}
    if request.id is not None:
        body["id"] = request.id
    body["parameters"] = {"labels": labels, "model": model.name}
    body["outputs"] = [
        _tensor("label", "BYTES", [count], [answer.label for answer in answers]),
        _tensor("probabilities", "FP64", [count, len(labels)], values),
        _tensor("truncated", "BOOL", [count], [answer.truncated for answer in answers]),
    ]
    return body


def _tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}
