"""Requests: every shape that is read, and one defined error for everything else."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.body import FORM, RAW_FORM, BodyHeaders
from handler.errors import InvalidPair, InvalidRequest, LimitExceeded, RequestError
from handler.request import Request, SentencePair, Shape, parse_request, read_pair
from handler.settings import HandlerSettings
from handler.tensors import OUTPUTS, RequestedOutput

LIMITS = HandlerSettings(max_pairs=3, max_text_chars=20)
GOOD = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
PAIR = SentencePair("비가 온다.", "날씨가 맑다.")
ALL_OUTPUTS = tuple(RequestedOutput(name) for name in OUTPUTS)
NO_HEADERS = BodyHeaders()
FORM_OF_GATEWAY = BodyHeaders(RAW_FORM)


def parse(body: Any, headers: BodyHeaders = NO_HEADERS) -> Request:
    """Parse a body given as bytes, or as something to dump as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_request({"body": bytearray(raw)}, headers, LIMITS)


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


def test_one_premise_with_many_hypotheses() -> None:
    request = parse({"premise": "하나", "hypotheses": ["둘", "셋"], "user": 7})
    assert request == Request((SentencePair("하나", "둘"), SentencePair("하나", "셋")), Shape.LIST)
    assert request.pairs[0].premise is request.pairs[1].premise
    assert [pair.where for pair in request.pairs] == ["hypotheses[0]", "hypotheses[1]"]


def test_a_premise_tensor_of_one_row_goes_with_every_hypothesis() -> None:
    request = parse(tensors(["하나"], ["둘", "셋"]))
    assert request.pairs == (SentencePair("하나", "둘"), SentencePair("하나", "셋"))


@pytest.mark.parametrize("value", [True, "true"])
def test_a_premise_by_sentences_is_read_with_each_hypothesis(value: object) -> None:
    text = "하나다. 둘이다."
    one = parse({"premise": text, "hypothesis": "셋", "premise_sentences": value})
    assert (one.pairs, one.shape) == ((SentencePair(text, "셋"),), Shape.SINGLE)
    assert one.pairs_to_read == (SentencePair("하나다.", "셋"), SentencePair("둘이다.", "셋"))
    many = parse({"premise": "하나다", "hypotheses": ["둘", "셋"], "premise_sentences": value})
    assert many.pairs_to_read == many.pairs
    assert [(each.start, each.end) for each in one.sentences] == [(0, 4), (5, 9)]


@pytest.mark.parametrize("value", [False, "false"])
def test_a_premise_is_read_whole_where_sentences_are_not_asked_for(value: object) -> None:
    assert parse(GOOD | {"premise_sentences": value}) == Request((PAIR,), Shape.SINGLE)


def test_a_form_may_ask_for_sentences() -> None:
    form = GOOD | {"premise_sentences": "true"}
    fields = {name: text.encode() for name, text in form.items()}
    assert len(parse_request(fields, BodyHeaders(FORM), LIMITS).sentences) == 1
    assert len(parse(urlencode(form).encode(), FORM_OF_GATEWAY).sentences) == 1


def test_a_premise_of_signs_alone_is_one_sentence() -> None:
    request = parse({"premise": "?! ...", "hypothesis": "나", "premise_sentences": True})
    assert request.pairs_to_read == (SentencePair("?! ...", "나"),)


@pytest.mark.parametrize("premise", ["\x01" * 20, '"' * 20, "가" * 20])
def test_a_small_body_can_t_ask_for_a_large_response(premise: str) -> None:
    size = 3 * len(json.dumps(premise, ensure_ascii=False).encode())
    raw = json.dumps({"premise": premise, "hypotheses": ["나"] * 3}).encode()
    for most, refused in ((size, False), (size - 1, True)):
        limits = LIMITS.model_copy(update={"max_body_bytes": most})
        with pytest.raises(LimitExceeded, match=f"3 times, has {size} bytes") if refused else nullcontext():
            parse_request({"body": raw}, NO_HEADERS, limits)


def test_form_fields() -> None:
    form = {name: bytearray(text.encode()) for name, text in GOOD.items()}
    assert parse_request(form, BodyHeaders("multipart/form-data"), LIMITS) == Request((PAIR,), Shape.SINGLE)


def test_the_grpc_field_data_is_read_like_a_body() -> None:
    assert parse_request({"data": json.dumps(GOOD).encode()}, NO_HEADERS, LIMITS).pairs == (PAIR,)


def test_a_pair_of_a_file_is_checked_as_one_of_a_request() -> None:
    assert read_pair(GOOD, LIMITS) == PAIR
    with pytest.raises(InvalidPair, match=r"^\[7\] must be an object .* not a list$"):
        read_pair(["가", "나"], LIMITS, "[7]")


def test_kserve_v1() -> None:
    assert parse({"instances": [GOOD]}) == Request((PAIR,), Shape.KSERVE_V1)


def test_kserve_v2() -> None:
    request = parse(tensors(["비가 온다."], ["날씨가 맑다."], id="a-7", parameters={}))
    assert request == Request((PAIR,), Shape.KSERVE_V2, "a-7", ALL_OUTPUTS)


def test_extra_keys_are_ignored() -> None:
    assert parse(GOOD | {"user": 7}).pairs == (PAIR,)


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
    (
        "an instance that is a list",
        {"instances": [["가", "나"]]},
        InvalidPair,
        "instances[0] must be an object with",
    ),
    ("columns instead of tensors", {"inputs": {"premise": ["가"]}}, InvalidRequest, "inputs must be a list"),
    ("comments", b'{"premise": "a" /* b */}', InvalidRequest, "not JSON: Expecting ',' delimiter"),
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
    ("tensors of different length", tensors(["가"] * 2, ["나"]), InvalidRequest, "2 premises and 1 hyp"),
    ("a premise for no hypothesis", tensors(["가"], []), InvalidRequest, "inputs.data holds no pair"),
    ("a premise for too many", tensors(["가"], ["나"] * 4), LimitExceeded, "4 pairs in one request"),
    ("no premise", {"hypotheses": ["나"]}, InvalidPair, "premise is missing"),
    ("no hypotheses", {"premise": "가", "hypotheses": []}, InvalidRequest, "hypotheses holds no pair"),
    ("a hypothesis as hypotheses", {"premise": "가", "hypotheses": "나"}, InvalidRequest, "not a string"),
    ("too many hypotheses", {"premise": "가", "hypotheses": ["나"] * 4}, LimitExceeded, "4 pairs in one"),
    (
        "too many sentences",
        {"premise": "가. 나. 다. 라.", "hypothesis": "마", "premise_sentences": True},
        LimitExceeded,
        "premise has 4 sentences, each a pair with each of 1 hypotheses; at most 3 pairs are allowed: "
        "send at most 3 sentences at once",
    ),
    (
        "sentences by hypotheses that are too many",
        {"premise": "가. 나.", "hypotheses": ["다", "라"], "premise_sentences": True},
        LimitExceeded,
        "send at most 1 sentences at once",
    ),
    ("sentences by null", GOOD | {"premise_sentences": None}, InvalidRequest, "must be true or false"),
    ("sentences by 1", GOOD | {"premise_sentences": 1}, InvalidRequest, "must be true or false"),
    (
        "sentences of instances",
        {"instances": [GOOD], "premise_sentences": True},
        InvalidRequest,
        "premise_sentences is not read in bodies with instances or inputs",
    ),
    (
        "sentences of tensors",
        tensors(["가"], ["나"], premise_sentences=True),
        InvalidRequest,
        "is not read in bodies with instances",
    ),
    (
        "sentences in a list",
        [GOOD | {"premise_sentences": True}],
        InvalidPair,
        "[0].premise_sentences is read only in a body of one premise",
    ),
    ("both", GOOD | {"hypotheses": ["나"]}, InvalidRequest, "both 'hypothesis' and 'hypotheses'"),
    (
        "a blank hypothesis",
        {"premise": "가", "hypotheses": ["나", " "]},
        InvalidPair,
        "hypotheses[1] is blank",
    ),
    (
        "a hypothesis that is no text",
        {"premise": "가", "hypotheses": [None]},
        InvalidPair,
        "hypotheses[0] must be a string, not null",
    ),
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


@pytest.mark.parametrize("fields", [{}, {"other": b"x"}, {'{"premise": "a"': b'""}'}])
def test_a_form_without_our_fields_is_told_what_to_send(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="send JSON with -H 'Content-Type: application/json'"):
        parse_request(fields, BodyHeaders(f"{FORM}; charset=utf-8"), LIMITS)
    with pytest.raises(InvalidRequest, match="no part 'body' or 'data' that holds JSON"):
        parse_request(fields, BodyHeaders("multipart/form-data; boundary=x"), LIMITS)


def test_form_fields_are_decoded_by_the_charset_of_the_form() -> None:
    form = {name: text.encode("cp949") for name, text in GOOD.items()}
    assert parse_request(form, BodyHeaders(f"{FORM}; charset=euc-kr"), LIMITS).pairs == (PAIR,)
    with pytest.raises(InvalidPair, match="premise is not valid UTF-8"):
        parse_request(form, BodyHeaders(FORM), LIMITS)


def test_a_form_that_the_gateway_passes_on_is_one_pair_or_json() -> None:
    assert parse(b"premise=%EB%B9%84%EA%B0%80+%EC%98%A8%EB%8B%A4.&hypothesis=x", FORM_OF_GATEWAY) == Request(
        (SentencePair("비가 온다.", "x"),), Shape.SINGLE
    )
    assert parse([GOOD], FORM_OF_GATEWAY) == Request((PAIR,), Shape.LIST)
    with pytest.raises(InvalidPair, match="premise is missing"):
        parse(b"a=1", FORM_OF_GATEWAY)


def test_binary_tensors_follow_the_json() -> None:
    chunks = [len(text.encode()).to_bytes(4, "little") + text.encode() for text in GOOD.values()]
    inputs = [
        {"name": name, "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(chunk)}}
        for name, chunk in zip(GOOD, chunks, strict=True)
    ]
    head = json.dumps({"inputs": inputs, "outputs": [{"name": "label"}]}).encode()
    request = parse(head + b"".join(chunks), BodyHeaders(json_length=str(len(head))))
    assert request == Request((PAIR,), Shape.KSERVE_V2, outputs=(RequestedOutput("label"),))


@pytest.mark.parametrize("body", [GOOD, [GOOD], {"instances": [GOOD]}])
def test_binary_data_that_nothing_counts_is_refused(body: Any) -> None:
    head = json.dumps(body).encode()
    with pytest.raises(InvalidRequest, match="1 bytes follow the JSON, which has no inputs"):
        parse(head + b"x", BodyHeaders(json_length=str(len(head))))


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                [
                    "premise",
                    "hypothesis",
                    "hypotheses",
                    "premise_sentences",
                    "instances",
                    "inputs",
                    "id",
                    "data",
                    "name",
                ]
            )
            | st.text(),
            inner,
        )
    ),
)


header_values = st.none() | st.sampled_from([FORM, RAW_FORM, "gzip", "deflate", "1", "9"]) | st.text()


@given(
    json_values.map(lambda value: json.dumps(value).encode()) | st.binary(),
    st.builds(BodyHeaders, header_values, header_values, header_values),
)
def test_any_body_is_read_or_refused_in_one_short_line(body: bytes, headers: BodyHeaders) -> None:
    try:
        request = parse(body, headers)
    except RequestError as refusal:
        error = refusal
    else:
        assert 1 <= len(request.pairs) <= LIMITS.max_pairs
        return
    assert error.status in {400, 413, 415}
    assert str(error).splitlines() == [str(error)]
    assert len(str(error)) < 200
    assert json.loads(error.to_json())["code"] == error.status
