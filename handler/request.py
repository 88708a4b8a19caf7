"""Bytes → sentence pairs: every body that the service reads, and what is wrong with the others.

Four shapes are read, told apart by the body alone, so that the path doesn't matter:

- one pair, ``{"premise": "…", "hypothesis": "…"}``, as JSON or as form fields;
- a list of pairs;
- KServe V1, ``{"instances": [pair, …]}``;
- KServe V2, ``{"inputs": [{"name": "premise", "datatype": "BYTES", "data": ["…", …]}, …]}``.

Other keys are ignored; the same key twice in one object is an error, because two readers of such a
body would disagree about what it says.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.message import Message
from enum import Enum
from math import prod
from typing import Any

from handler.errors import InvalidPair, InvalidRequest, LimitExceeded
from handler.settings import HandlerSettings

FIELDS = ("premise", "hypothesis")

CHARSETS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "euc-kr", "cp949", "iso8859-1", "ascii")
"""Codecs a body may name (Python's names; aliases such as `ks_c_5601-1987` are resolved). Others are
refused: some of Python's take quadratic time, and some aren't text."""

_CODECS = {codecs.lookup(name).name for name in CHARSETS}
_TYPE_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


class Shape(Enum):
    """How a request held its pairs, and so how its answer is laid out."""

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
    """Path of the pair in its request, for messages: ``""``, ``"[3]."`` or ``"instances[3]."``."""


@dataclass(frozen=True, slots=True)
class Request:
    """The pairs of one request, checked, and what its answer needs to know."""

    pairs: tuple[SentencePair, ...]
    shape: Shape
    id: str | None = None
    """The id of a KServe V2 request, sent back with its answer."""

    def for_tutorial(self) -> Request:
        """The same request, to be answered as the tutorial's own server would.

        Raises:
            InvalidRequest: it doesn't hold one pair, which is all that the tutorial's contract knows.
        """
        if self.shape is not Shape.SINGLE:
            raise InvalidRequest("the body must be one object with 'premise' and 'hypothesis'")
        return replace(self, shape=Shape.TUTORIAL)


def parse_request(fields: Mapping[str, Any], content_type: str | None, limits: HandlerSettings) -> Request:
    """Read one request.

    Args:
        fields: form fields by name, or the whole body under ``body`` (``data`` over gRPC); values are
            bytes, or what TorchServe made of them (str, or decoded JSON).
        content_type: of the body, where one was sent; only its charset counts.
        limits: pairs a request and characters a text.

    Raises:
        InvalidRequest, InvalidPair, LimitExceeded: with a message that names the place.
    """
    if any(name in fields for name in FIELDS):
        form = {name: _text_of(fields[name], name) for name in FIELDS if name in fields}
        return Request((_pair(form, "", limits),), Shape.SINGLE)
    body = fields.get("body", fields.get("data"))
    if isinstance(body, (bytes, bytearray, memoryview, str)):
        body = _decode_json(body, content_type)
    elif body is None:
        raise InvalidRequest(
            "the body is neither JSON nor a form with the fields 'premise' and 'hypothesis'; "
            "send JSON with content type application/json"
        )
    return _read(body, limits)


def _text_of(value: Any, name: str) -> Any:
    """A form field as text."""
    if not isinstance(value, (bytes, bytearray, memoryview)):
        return value
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidPair(f"{name} is not valid UTF-8") from None


def _decode_json(body: bytes | bytearray | memoryview | str, content_type: str | None) -> Any:
    """Decode the body by its charset, its byte order mark or as UTF-8, and parse it strictly."""
    if isinstance(body, str):
        text = body
    else:
        raw = bytes(body)
        charset = _charset(content_type) or json.detect_encoding(raw)
        try:
            text = raw.decode(charset)
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"the body is not valid {charset} at byte {error.start}") from None
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise InvalidRequest("the body is empty; send JSON, or form fields 'premise' and 'hypothesis'")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except RecursionError:
        raise InvalidRequest("the body is not readable: it nests too deeply") from None
    except ValueError:  # an integer of thousands of digits, which Python refuses to convert
        raise InvalidRequest("the body is not readable: it holds a number with too many digits") from None


def _charset(content_type: str | None) -> str | None:
    """The charset parameter of a content type, as a codec name, or None where none is given."""
    if not content_type or "charset" not in content_type.lower():
        return None
    message = Message()
    message["content-type"] = content_type
    named = message.get_content_charset()
    if not named:
        return None
    try:
        codec = codecs.lookup(named).name
    except (LookupError, ValueError):
        codec = ""
    if codec not in _CODECS:
        raise InvalidRequest(f"the charset of the body is not supported; allowed are {', '.join(CHARSETS)}")
    # Korean Windows programs say euc-kr and mean its superset; a byte order mark may precede UTF-8.
    return {"euc_kr": "cp949", "utf-8": "utf-8-sig"}.get(codec, codec)


def _object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object, refusing the same key twice."""
    result = dict(items)
    if len(result) < len(items):
        raise InvalidRequest("the body is ambiguous: an object has the same key twice")
    return result


def _refuse_constant(_: str) -> None:
    raise InvalidRequest("the body is not JSON: NaN and Infinity are not JSON numbers")


def _read(body: Any, limits: HandlerSettings) -> Request:
    """Find the pairs in a parsed body."""
    if isinstance(body, list):
        return Request(_pairs(body, "", limits), Shape.LIST)
    if not isinstance(body, dict):
        raise InvalidRequest(f"the body must be an object or a list of objects, not {_type_name(body)}")
    if "instances" in body:
        if not isinstance(body["instances"], list):
            raise InvalidRequest(f"instances must be a list, not {_type_name(body['instances'])}")
        return Request(_pairs(body["instances"], "instances", limits), Shape.KSERVE_V1)
    if "inputs" in body:
        return _read_tensors(body, limits)
    return Request((_pair(body, "", limits),), Shape.SINGLE)


def _read_tensors(body: dict[str, Any], limits: HandlerSettings) -> Request:
    """Read a KServe V2 request: two BYTES tensors of equal length."""
    request_id = body.get("id")
    if not (request_id is None or isinstance(request_id, str)):
        raise InvalidRequest(f"id must be a string, not {_type_name(request_id)}")
    if _surrogate(request_id or "") is not None:
        raise InvalidRequest("id has a lone surrogate")
    if not isinstance(body["inputs"], list):
        raise InvalidRequest(f"inputs must be a list, not {_type_name(body['inputs'])}")
    tensors: dict[str, list[Any]] = {}
    for index, tensor in enumerate(body["inputs"]):
        where = f"inputs[{index}]"
        if not isinstance(tensor, dict):
            raise InvalidRequest(f"{where} must be an object, not {_type_name(tensor)}")
        name = tensor.get("name")
        if name not in FIELDS:
            raise InvalidRequest(f"{where}.name must be 'premise' or 'hypothesis'")
        if name in tensors:
            raise InvalidRequest(f"{where}.name is '{name}' again: each may be given once")
        if tensor.get("datatype") != "BYTES":
            raise InvalidRequest(f"{where}.datatype must be 'BYTES'")
        data = tensor.get("data")
        if not isinstance(data, list):
            raise InvalidRequest(f"{where}.data must be a list, not {_type_name(data)}")
        _check_shape(tensor.get("shape", [len(data)]), len(data), where)
        tensors[name] = data
    for name in FIELDS:
        if name not in tensors:
            raise InvalidRequest(f"inputs has no tensor named '{name}'")
    premises, hypotheses = tensors["premise"], tensors["hypothesis"]
    if len(premises) != len(hypotheses):
        raise InvalidRequest(
            f"inputs differ in length: {len(premises)} premises and {len(hypotheses)} hypotheses"
        )
    rows = [{"premise": p, "hypothesis": h} for p, h in zip(premises, hypotheses, strict=True)]
    return Request(_pairs(rows, "inputs.data", limits), Shape.KSERVE_V2, request_id)


def _check_shape(shape: Any, size: int, where: str) -> None:
    valid = isinstance(shape, list) and all(type(side) is int and 0 <= side <= size for side in shape)
    if not (valid and len(shape) <= 2 and prod(shape) == size):
        raise InvalidRequest(f"{where}.shape doesn't fit its data: expected [{size}] or [{size}, 1]")


def _pairs(rows: list[Any], prefix: str, limits: HandlerSettings) -> tuple[SentencePair, ...]:
    if not rows:
        raise InvalidRequest(f"{prefix or 'the list'} holds no pair")
    if len(rows) > limits.max_pairs:
        raise LimitExceeded(f"{len(rows)} pairs in one request; at most {limits.max_pairs} are allowed")
    return tuple(_pair(row, f"{prefix}[{index}]", limits) for index, row in enumerate(rows))


def _pair(row: Any, where: str, limits: HandlerSettings) -> SentencePair:
    if not isinstance(row, dict):
        raise InvalidPair(f"{where} must be an object with 'premise' and 'hypothesis', not {_type_name(row)}")
    prefix = f"{where}." if where else ""
    premise, hypothesis = (_text(row, name, prefix, limits) for name in FIELDS)
    return SentencePair(premise, hypothesis, prefix)


def _text(row: dict[str, Any], name: str, prefix: str, limits: HandlerSettings) -> str:
    if name not in row:
        raise InvalidPair(f"{prefix}{name} is missing")
    text = row[name]
    if not isinstance(text, str):
        raise InvalidPair(f"{prefix}{name} must be a string, not {_type_name(text)}")
    if len(text) > limits.max_text_chars:
        raise LimitExceeded(
            f"{prefix}{name} has {len(text)} characters; at most {limits.max_text_chars} are allowed"
        )
    if not text.strip():
        raise InvalidPair(f"{prefix}{name} is blank")
    surrogate = _surrogate(text)
    if surrogate is not None:
        raise InvalidPair(f"{prefix}{name} has a lone surrogate at character {surrogate}")
    return text


def _surrogate(text: str) -> int | None:
    """Index of the first lone surrogate, which JSON can hold and no encoding can."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return None


def _type_name(value: Any) -> str:
    return _TYPE_NAMES.get(type(value), "a number")
