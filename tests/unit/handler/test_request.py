"""Requests: every shape that is read, and one defined error for everything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import InvalidPair, InvalidRequest, LimitExceeded, RequestError
from handler.request import Request, SentencePair, Shape, parse_request
from handler.settings import HandlerSettings

LIMITS = HandlerSettings(max_pairs=3, max_text_chars=20)
GOOD = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
PAIR = SentencePair("비가 온다.", "날씨가 맑다.")


def parse(body: Any, content_type: str | None = None) -> Request:
    """Parse a body given as bytes, or as something to dump as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_request({"body": bytearray(raw)}, content_type, LIMITS)


def tensors(premises: Any, hypotheses: Any, **changes: Any) -> dict[str, Any]:
    """A KServe V2 body."""
    inputs = [
        {"name": "premise", "datatype": "BYTES", "shape": [len(premises)], "data": premises},
        {"name": "hypothesis", "datatype": "BYTES", "shape": [len(hypotheses)], "data": hypotheses},
    ]
    return {"inputs": inputs} | changes


def test_one_pair() -> None:
    assert parse(GOOD) == Request((PAIR,), Shape.SINGLE)


def test_a_list_of_pairs_keeps_its_order() -> None:
    other = {"premise": "하나", "hypothesis": "둘"}
    request = parse([GOOD, other])
    assert request == Request((PAIR, SentencePair("하나", "둘")), Shape.LIST)
    assert [pair.where for pair in request.pairs] == ["[0].", "[1]."]


def test_form_fields() -> None:
    form = {name: bytearray(text.encode()) for name, text in GOOD.items()}
    assert parse_request(form, "multipart/form-data", LIMITS) == Request((PAIR,), Shape.SINGLE)


def test_the_grpc_field_data_is_read_like_a_body() -> None:
    assert parse_request({"data": json.dumps(GOOD).encode()}, None, LIMITS).pairs == (PAIR,)


def test_kserve_v1() -> None:
    assert parse({"instances": [GOOD]}) == Request((PAIR,), Shape.KSERVE_V1)


def test_kserve_v2() -> None:
    request = parse(tensors(["비가 온다."], ["날씨가 맑다."], id="a-7", parameters={}))
    assert request == Request((PAIR,), Shape.KSERVE_V2, "a-7")


def test_extra_keys_are_ignored() -> None:
    assert parse(GOOD | {"user": 7}).pairs == (PAIR,)


@pytest.mark.parametrize(
    ("codec", "content_type"),
    [
        ("utf-8", None),
        ("utf-8", "Application/JSON; Charset=UTF-8"),
        ("utf-8-sig", None),
        ("utf-8-sig", "application/json; charset=utf-8"),
        ("utf-16", None),
        ("utf-16-le", "application/json; charset=utf-16le"),
        ("utf-32", None),
        ("cp949", "text/plain; charset=euc-kr"),
        ("cp949", 'application/json; charset="ks_c_5601-1987"'),
        ("utf-8", "text/plain"),
        ("utf-8", "application/json; charset="),
    ],
)
def test_any_reasonable_charset_and_byte_order_mark(codec: str, content_type: str | None) -> None:
    body = json.dumps(GOOD, ensure_ascii=False).encode(codec)
    assert parse(body, content_type).pairs == (PAIR,)


REFUSED: list[tuple[str, Any, type[RequestError], str]] = [
    ("an empty body", b"", InvalidRequest, "empty"),
    ("only spaces", b" \n", InvalidRequest, "empty"),
    ("not JSON", b"premise", InvalidRequest, "not JSON: Expecting value at line 1 column 1"),
    ("JSON cut short", b'{"premise": "', InvalidRequest, "not JSON"),
    ("text after JSON", b"{} {}", InvalidRequest, "not JSON"),
    ("bytes that are no UTF-8", b'{"premise": "\xff"}', InvalidRequest, "not valid utf-8 at byte 13"),
    ("NaN", b'{"premise": NaN}', InvalidRequest, "NaN"),
    ("a number of 5,000 digits", b"[" + b"1" * 5000 + b"]", InvalidRequest, "too many digits"),
    ("a hundred thousand brackets", b"[" * 100_000, InvalidRequest, "nests too deeply"),
    ("a key twice", b'{"premise": "a", "premise": "b"}', InvalidRequest, "same key twice"),
    ("a string", "가", InvalidRequest, "must be an object or a list of objects, not a string"),
    ("null", None, InvalidRequest, "not null"),
    ("an empty list", [], InvalidRequest, "holds no pair"),
    ("instances that are no list", {"instances": GOOD}, InvalidRequest, "instances must be a list"),
    ("no instances", {"instances": []}, InvalidRequest, "instances holds no pair"),
    ("an empty object", {}, InvalidPair, "premise is missing"),
    ("no hypothesis", {"premise": "가"}, InvalidPair, "hypothesis is missing"),
    ("a null", {"premise": None, "hypothesis": "가"}, InvalidPair, "premise must be a string, not null"),
    ("a list", {"premise": [1], "hypothesis": "가"}, InvalidPair, "premise must be a string, not a list"),
    ("true", {"premise": True, "hypothesis": "가"}, InvalidPair, "must be a string, not a boolean"),
    ("a number", {"premise": 1.5, "hypothesis": "가"}, InvalidPair, "must be a string, not a number"),
    ("blank text", {"premise": " \t\u3000", "hypothesis": "가"}, InvalidPair, "premise is blank"),
    (
        "a lone surrogate",
        b'{"premise": "a\\ud800", "hypothesis": "b"}',
        InvalidPair,
        "premise has a lone surrogate at character 1",
    ),
    ("a bad pair in a list", [GOOD, {"premise": "가"}], InvalidPair, "[1].hypothesis is missing"),
    ("a list in a list", [GOOD, []], InvalidPair, "[1] must be an object"),
    ("a bad instance", {"instances": [{}]}, InvalidPair, "instances[0].premise is missing"),
    ("too many pairs", [GOOD] * 4, LimitExceeded, "4 pairs in one request; at most 3 are allowed"),
    (
        "too long a text",
        {"premise": "가", "hypothesis": "가" * 21},
        LimitExceeded,
        "hypothesis has 21 characters; at most 20 are allowed",
    ),
    ("inputs that are no list", {"inputs": 1}, InvalidRequest, "inputs must be a list, not a number"),
    ("no inputs", {"inputs": []}, InvalidRequest, "no tensor named 'premise'"),
    ("an input that is no object", {"inputs": [1]}, InvalidRequest, "inputs[0] must be an object"),
    ("tensors of different length", tensors(["가"], ["나", "다"]), InvalidRequest, "1 premises and 2 hyp"),
    ("an unknown tensor", {"inputs": [{"name": "x"}]}, InvalidRequest, "inputs[0].name must be 'premise'"),
    (
        "a tensor twice",
        {"inputs": tensors(["가"], ["나"])["inputs"][:1] * 2},
        InvalidRequest,
        "inputs[1].name is 'premise' again",
    ),
    (
        "another datatype",
        {"inputs": [{"name": "premise", "datatype": "INT8", "data": [1]}]},
        InvalidRequest,
        "inputs[0].datatype must be 'BYTES'",
    ),
    (
        "data that is no list",
        {"inputs": [{"name": "premise", "datatype": "BYTES", "data": "가"}]},
        InvalidRequest,
        "inputs[0].data must be a list, not a string",
    ),
    (
        "a shape that doesn't fit",
        {"inputs": [{"name": "premise", "datatype": "BYTES", "shape": [2], "data": ["가"]}]},
        InvalidRequest,
        "inputs[0].shape doesn't fit",
    ),
    ("a number in a tensor", tensors([1], ["가"]), InvalidPair, "inputs.data[0].premise must be a string"),
    ("an id that is no string", tensors(["가"], ["나"], id=1), InvalidRequest, "id must be a string"),
    (
        "an id that is no text",
        tensors(["가"], ["나"], id="\ud800"),
        InvalidRequest,
        "id has a lone surrogate",
    ),
]


@pytest.mark.parametrize(
    ("body", "kind", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_is_wrong_is_named(body: Any, kind: type[RequestError], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(body)
    assert type(caught.value) is kind
    assert message in str(caught.value)


@pytest.mark.parametrize("charset", ["utf-7", "punycode", "hex", "klingon", "rot13"])
def test_other_charsets_are_refused_with_a_list(charset: str) -> None:
    with pytest.raises(InvalidRequest, match="allowed are utf-8, utf-16"):
        parse(GOOD, f"application/json; charset={charset}")


@pytest.mark.parametrize("fields", [{}, {"other": b"x"}, {'{"premise": "a"': b'""}'}])
def test_a_form_without_our_fields_is_told_what_to_send(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="send JSON with content type application/json"):
        parse_request(fields, "application/x-www-form-urlencoded", LIMITS)


def test_a_form_field_that_is_no_utf8_is_named() -> None:
    with pytest.raises(InvalidPair, match="hypothesis is not valid UTF-8"):
        parse_request({"premise": b"a", "hypothesis": b"\xff"}, None, LIMITS)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["premise", "hypothesis", "instances", "inputs", "id", "data", "name"])
            | st.text(),
            inner,
        )
    ),
)


@given(json_values.map(lambda value: json.dumps(value).encode()) | st.binary(), st.none() | st.text())
def test_any_body_is_read_or_refused_in_one_short_line(body: bytes, content_type: str | None) -> None:
    try:
        request = parse(body, content_type)
    except RequestError as refusal:
        error = refusal
    else:
        assert 1 <= len(request.pairs) <= LIMITS.max_pairs
        return
    assert error.status in {400, 413}
    assert str(error).splitlines() == [str(error)]
    assert len(str(error)) < 200
    assert json.loads(error.to_json())["code"] == error.status
