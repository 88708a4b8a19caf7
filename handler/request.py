"""Bytes → sentence pairs: every body that the service reads, and what is wrong with the others.

These shapes are read, told apart by the body alone, so that the path doesn't matter:

- one pair, ``{"premise": "…", "hypothesis": "…"}``, as JSON or as form fields;
- a list of pairs;
- one premise with many hypotheses, ``{"premise": "…", "hypotheses": ["…", …]}``;
- either of these two with ``"premise_sentences": true``, for a premise to be read sentence by sentence;
- KServe V1, ``{"instances": [pair, …]}``;
- KServe V2, ``{"inputs": [{"name": "premise", "datatype": "BYTES", "data": ["…", …]}, …]}``.

Other keys are ignored; the same key twice in one object is an error, because two readers of such a
body would disagree about what it says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from handler.body import (
    FORM,
    BodyHeaders,
    charset_of,
    limit_pairs,
    lone_surrogate,
    media_type,
    read_body,
    type_name,
)
from handler.errors import InvalidPair, InvalidRequest, LimitExceeded
from handler.multipart import RAW_MULTIPART, read_multipart
from handler.sentences import Span, split_sentences
from handler.settings import HandlerSettings
from handler.tensors import EXPLANATION, OUTPUTS, RequestedOutput, read_tensors

FIELDS = ("premise", "hypothesis")

SENTENCES = "premise_sentences"
"""The field that asks for a premise to be read sentence by sentence."""


class Shape(Enum):
    """How a request held its pairs, and so the format of its answer."""

    SINGLE = "single"
    LIST = "list"
    KSERVE_V1 = "kserve-v1"
    KSERVE_V2 = "kserve-v2"
    TUTORIAL = "tutorial"
    """One pair that wants the tutorial's nine fields and no more; asked for by a header, not by the body."""


@dataclass(frozen=True, slots=True)
class SentencePair:
    """A premise and a hypothesis as the user wrote them."""

    premise: str
    hypothesis: str
    where: str = field(default="", compare=False)
    """Path of the pair in its request, for messages: ``""``, ``"[3]."``, ``"instances[3]."`` or
    ``"hypotheses[3]"``."""


@dataclass(frozen=True, slots=True)
class Request:
    """The pairs of one request, checked, and what its answer needs to know."""

    pairs: tuple[SentencePair, ...]
    shape: Shape
    id: str | None = None
    """The id of a KServe V2 request, sent back with its answer."""
    outputs: tuple[RequestedOutput, ...] = ()
    """The outputs that a KServe V2 request wants, in order."""
    sentences: tuple[Span, ...] = ()
    """The sentences of the premise of all pairs, where it is to be read by sentences."""

    @property
    def pairs_to_read(self) -> tuple[SentencePair, ...]:
        """The pairs that the model reads: for each pair itself, or one with each sentence of the premise."""
        if not self.sentences:
            return self.pairs
        return tuple(
            SentencePair(sentence.text, pair.hypothesis, pair.where)
            for pair in self.pairs
            for sentence in self.sentences
        )

    def for_tutorial(self) -> Request:
        """The same request, to be answered as the tutorial's own server would.

        Raises:
            InvalidRequest: it doesn't hold one pair, which is all that the tutorial's contract knows.
        """
        if self.shape is not Shape.SINGLE:
            raise InvalidRequest("the body must be one object with 'premise' and 'hypothesis'")
        return replace(self, shape=Shape.TUTORIAL)


def parse_request(
    fields: Mapping[str, Any], headers: BodyHeaders, limits: HandlerSettings, explained: bool = False
) -> Request:
    """Read one request.

    Args:
        fields: bytes; the fields of a form by name, or the whole body under ``body`` (``data`` over gRPC).
        headers: of the body.
        limits: pairs a request, characters a text and bytes a body.
        explained: whether explanations are asked for, which a KServe V2 request may then name as an output.

    Raises:
        InvalidRequest, InvalidPair, LimitExceeded, UnsupportedEncoding: with a message that names the place.
    """
    if media_type(headers.content_type) == RAW_MULTIPART and "body" in fields:
        fields, headers = read_multipart(bytes(fields["body"]), headers)
    if any(name in fields for name in FIELDS):
        charset = charset_of(headers.content_type) or "utf-8"
        known = (*FIELDS, SENTENCES)
        form = {name: _form_text(fields[name], name, charset) for name in known if name in fields}
        return _read(form, b"", limits, explained)
    raw = fields.get("body", fields.get("data"))
    if raw is None:
        raise InvalidRequest(_missing_body(headers))
    value, binary = read_body(bytes(raw), headers, limits.max_body_bytes)
    if binary and not (isinstance(value, dict) and "inputs" in value):
        raise InvalidRequest(f"{len(binary)} bytes follow the JSON, which has no inputs that count them")
    return _read(value, binary, limits, explained)


def read_pair(row: Any, limits: HandlerSettings, where: str = "") -> SentencePair:
    """Check one pair.

    Args:
        row: a JSON value.
        limits: characters a text.
        where: path of the pair in its request, such as ``[3]``.

    Raises:
        InvalidPair, LimitExceeded: with a message that names the place.
    """
    if not isinstance(row, dict):
        raise InvalidPair(f"{where} must be an object with 'premise' and 'hypothesis', not {type_name(row)}")
    prefix = f"{where}." if where else ""
    if where and _asks_for_sentences(row):
        raise InvalidPair(f"{prefix}{SENTENCES} is read only in a body of one premise, not in a list")
    premise, hypothesis = (_text(row, name, prefix, limits) for name in FIELDS)
    return SentencePair(premise, hypothesis, prefix)


def _asks_for_sentences(row: dict[str, Any]) -> bool:
    """Whether an object that isn't read by sentences has another value for it than false and null."""
    return row.get(SENTENCES) is not None and row[SENTENCES] is not False


def _missing_body(headers: BodyHeaders) -> str:
    """What to tell a client whose body TorchServe took apart as a form, and nothing known was in it."""
    if media_type(headers.content_type) == FORM:
        return (
            "the body was sent as a form, and TorchServe finds no fields 'premise' and 'hypothesis' in it; "
            "send JSON with -H 'Content-Type: application/json'"
        )
    return "the form has no fields 'premise' and 'hypothesis', and no part 'body' or 'data' that holds JSON"


def _form_text(value: Any, name: str, charset: str) -> str:
    try:
        return bytes(value).decode(charset)
    except UnicodeDecodeError:
        raise InvalidPair(f"{name} is not valid {charset.upper()}") from None


def _read(body: Any, binary: bytes, limits: HandlerSettings, explained: bool) -> Request:
    """Find the pairs in a parsed body."""
    if isinstance(body, list):
        return Request(_pairs(body, "", limits), Shape.LIST)
    if not isinstance(body, dict):
        raise InvalidRequest(f"the body must be an object or a list of objects, not {type_name(body)}")
    if _asks_for_sentences(body) and ("instances" in body or "inputs" in body):
        raise InvalidRequest(f"{SENTENCES} is not read in bodies with instances or inputs")
    if "instances" in body:
        if not isinstance(body["instances"], list):
            raise InvalidRequest(f"instances must be a list, not {type_name(body['instances'])}")
        return Request(_pairs(body["instances"], "instances", limits), Shape.KSERVE_V1)
    if "inputs" in body:
        offered = (*OUTPUTS, EXPLANATION) if explained else OUTPUTS
        read = read_tensors(body, binary, limits.max_pairs, offered)
        return Request(_pairs(read.rows, "inputs.data", limits), Shape.KSERVE_V2, read.id, read.outputs)
    if "hypotheses" in body:
        request = Request(_with_each_hypothesis(body, limits), Shape.LIST)
    else:
        request = Request((read_pair(body, limits),), Shape.SINGLE)
    return _by_sentences(request, body, limits) if SENTENCES in body else request


def _by_sentences(request: Request, body: dict[str, Any], limits: HandlerSettings) -> Request:
    """The same request, its premise to be read by sentences if the body says so."""
    wanted = {"true": True, "false": False}.get(str(body[SENTENCES]).lower())
    if wanted is None:
        raise InvalidRequest(f"{SENTENCES} must be true or false")
    if not wanted:
        return request
    # A text of signs alone is one sentence.
    premise = request.pairs[0].premise
    sentences = split_sentences(premise) or [Span(premise, 0, len(premise))]
    if len(sentences) * len(request.pairs) > limits.max_pairs:
        most = limits.max_pairs // len(request.pairs)
        raise LimitExceeded(
            f"premise has {len(sentences)} sentences, each a pair with each of {len(request.pairs)} "
            f"hypotheses; at most {limits.max_pairs} pairs are allowed: send at most {most} sentences at once"
        )
    return replace(request, sentences=tuple(sentences))


def _with_each_hypothesis(body: dict[str, Any], limits: HandlerSettings) -> tuple[SentencePair, ...]:
    """One pair for each hypothesis; all share the premise, which is checked once."""
    hypotheses = body["hypotheses"]
    if "hypothesis" in body:
        raise InvalidRequest("the body is ambiguous: it has both 'hypothesis' and 'hypotheses'")
    if not isinstance(hypotheses, list):
        raise InvalidRequest(f"hypotheses must be a list of strings, not {type_name(hypotheses)}")
    _check_count(len(hypotheses), "hypotheses", limits)
    premise = _text(body, "premise", "", limits)
    # Each answer repeats the premise, so that a small body could ask for a large response.
    size = len(json.dumps(premise, ensure_ascii=False).encode()) * len(hypotheses)
    if size > limits.max_body_bytes:
        raise LimitExceeded(
            f"the premise, {len(hypotheses)} times, has {size} bytes; at most {limits.max_body_bytes} are "
            "allowed: send fewer hypotheses at once"
        )
    texts = ((text, f"hypotheses[{index}]") for index, text in enumerate(hypotheses))
    return tuple(SentencePair(premise, _checked(text, where, limits), where) for text, where in texts)


def _pairs(rows: list[Any], prefix: str, limits: HandlerSettings) -> tuple[SentencePair, ...]:
    _check_count(len(rows), prefix or "the list", limits)
    return tuple(read_pair(row, limits, f"{prefix}[{index}]") for index, row in enumerate(rows))


def _check_count(pairs: int, where: str, limits: HandlerSettings) -> None:
    if not pairs:
        raise InvalidRequest(f"{where} holds no pair")
    limit_pairs(pairs, limits.max_pairs)


def _text(row: dict[str, Any], name: str, prefix: str, limits: HandlerSettings) -> str:
    if name not in row:
        raise InvalidPair(f"{prefix}{name} is missing")
    return _checked(row[name], f"{prefix}{name}", limits)


def _checked(text: Any, where: str, limits: HandlerSettings) -> str:
    """A text that the service reads."""
    if not isinstance(text, str):
        raise InvalidPair(f"{where} must be a string, not {type_name(text)}")
    if len(text) > limits.max_text_chars:
        raise LimitExceeded(
            f"{where} has {len(text)} characters; at most {limits.max_text_chars} are allowed"
        )
    if not text.strip():
        raise InvalidPair(f"{where} is blank")
    surrogate = lone_surrogate(text)
    if surrogate is not None:
        raise InvalidPair(f"{where} has a lone surrogate at character {surrogate}")
    return text
