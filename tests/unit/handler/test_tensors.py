"""Tensors: data in JSON or behind it, flat or nested, and the outputs that are asked for."""

from __future__ import annotations

import re
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import InvalidPair, InvalidRequest, LimitExceeded, RequestError
from handler.tensors import EXPLANATION, OUTPUTS, RequestedOutput, TensorRequest, read_tensors

ALL = tuple(RequestedOutput(name) for name in OUTPUTS)
ROWS = [{"premise": "비가 온다.", "hypothesis": "맑다."}, {"premise": "", "hypothesis": "나"}]


def tensor(name: str, data: Any, **changes: Any) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [len(data)], "data": data} | changes


def pack(texts: list[str]) -> bytes:
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)


def both(shape: list[int] | None = None, **changes: Any) -> dict[str, Any]:
    """Two pairs in JSON."""
    stated = {} if shape is None else {"shape": shape}
    inputs = [tensor(name, [row[name] for row in ROWS], **stated) for name in ("premise", "hypothesis")]
    return {"inputs": inputs} | changes


def binary(premises: list[str], hypotheses: list[str], **changes: Any) -> tuple[dict[str, Any], bytes]:
    """Pairs behind the JSON, as `tritonclient` sends them."""
    inputs, chunks = [], []
    for name, texts in (("premise", premises), ("hypothesis", hypotheses)):
        chunks.append(pack(texts))
        size = {"binary_data_size": len(chunks[-1])}
        inputs.append(
            {"name": name, "datatype": "BYTES", "shape": [len(texts)], "parameters": size} | changes
        )
    return {"inputs": inputs}, b"".join(chunks)


def read(body: dict[str, Any], data: bytes = b"") -> TensorRequest:
    return read_tensors(body, data, max_pairs=3)


def test_pairs_in_json() -> None:
    assert read(both(id="a-7", parameters=None)) == TensorRequest(ROWS, "a-7", ALL)


def test_pairs_in_binary_data() -> None:
    body, data = binary([row["premise"] for row in ROWS], [row["hypothesis"] for row in ROWS])
    assert read(body, data) == TensorRequest(ROWS, None, ALL)


@pytest.mark.parametrize("premises", [1, 4])
def test_too_many_pairs_are_refused_before_they_are_made(premises: int) -> None:
    body = {"inputs": [tensor("premise", ["가"] * premises), tensor("hypothesis", ["나"] * 4)]}
    with pytest.raises(LimitExceeded, match="4 pairs in one request; at most 3 are allowed"):
        read(body)


def test_one_tensor_in_json_and_one_behind_it() -> None:
    body, data = binary(["가"], ["나"])
    body["inputs"][0] = tensor("premise", ["가"])
    assert read(body, data[len(pack(["가"])) :]).rows == [{"premise": "가", "hypothesis": "나"}]


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (["가", "나"], [2]),
        (["가", "나"], [2, 1]),
        (["가", "나"], [1, 2]),
        ([["가"], ["나"]], [2, 1]),
        ([["가", "나"]], [1, 2]),
    ],
)
def test_data_is_flat_or_nested_as_its_shape_says(data: Any, shape: list[int]) -> None:
    body = {"inputs": [tensor(name, data, shape=shape) for name in ("premise", "hypothesis")]}
    assert [row["premise"] for row in read(body).rows] == ["가", "나"]


def test_the_shape_of_nested_data_may_be_left_out() -> None:
    inputs = [
        {"name": name, "datatype": "BYTES", "data": [["가"], ["나"]]} for name in ("premise", "hypothesis")
    ]
    assert len(read({"inputs": inputs}).rows) == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ALL),
        ({"outputs": []}, ALL),
        ({"outputs": None}, ALL),
        (
            {"parameters": {"binary_data_output": True}},
            tuple(RequestedOutput(name, True) for name in OUTPUTS),
        ),
        ({"outputs": [{"name": "truncated"}, {"name": "label"}]}, (ALL[2], ALL[0])),
        (
            {"outputs": [{"name": "label", "parameters": {"binary_data": True}}, {"name": "truncated"}]},
            (RequestedOutput("label", True), RequestedOutput("truncated")),
        ),
        (
            {
                "parameters": {"binary_data_output": True, "priority": 1, "my": "own"},
                "outputs": [{"name": "label", "parameters": {"binary_data": False}}, {"name": "truncated"}],
            },
            (RequestedOutput("label"), RequestedOutput("truncated", True)),
        ),
    ],
)
def test_the_outputs_asked_for(changes: dict[str, Any], expected: tuple[RequestedOutput, ...]) -> None:
    assert read(both(**changes)).outputs == expected


@pytest.mark.parametrize("binary", [False, True])
def test_an_output_that_is_offered_beside_the_others_is_asked_for_like_them(binary: bool) -> None:
    def asked(**changes: Any) -> tuple[RequestedOutput, ...]:
        body = both(parameters={"binary_data_output": binary}, **changes)
        return read_tensors(body, b"", 3, (*OUTPUTS, EXPLANATION)).outputs

    assert asked() == tuple(RequestedOutput(name, binary) for name in (*OUTPUTS, EXPLANATION))
    assert asked(outputs=[{"name": EXPLANATION}]) == (RequestedOutput(EXPLANATION, binary),)
    assert asked(outputs=[{"name": "label"}]) == (RequestedOutput("label", binary),)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("an output that there isn't", both(outputs=[{"name": "logits"}]), "outputs[0].name must be"),
    ("an output twice", both(outputs=[{"name": "label"}] * 2), "outputs[1].name is 'label' again"),
    ("outputs by bare name", both(outputs=["label"]), "outputs[0] must be an object, not a string"),
    ("outputs that are no list", both(outputs={"label": 1}), "outputs must be a list"),
    (
        "a class count",
        both(outputs=[{"name": "label", "parameters": {"classification": 2}}]),
        "outputs[0].parameters.classification is not offered",
    ),
    (
        "shared memory for an output",
        both(outputs=[{"name": "label", "parameters": {"shared_memory_region": "x"}}]),
        "outputs[0].parameters.shared_memory_region is not offered; send data in the body",
    ),
    (
        "a flag that is no boolean",
        both(parameters={"binary_data_output": "yes"}),
        "parameters.binary_data_output must be a boolean, not a string",
    ),
    ("parameters that are a list", both(parameters=[1]), "parameters must be an object, not a list"),
    ("three dimensions", both(shape=[2, 1, 1]), "inputs[0].shape doesn't fit its data"),
    (
        "nested data of another shape",
        {"inputs": [tensor("premise", [["가"], ["나"]], shape=[1, 2])]},
        "inputs[0].data is not nested as its shape says",
    ),
    (
        "half nested data",
        {"inputs": [tensor("premise", [["가"], "나"])]},
        "inputs[0].shape doesn't fit its data",
    ),
    ("no data", {"inputs": [{"name": "premise", "datatype": "BYTES"}]}, "inputs[0].data must be a list"),
    ("an id with a lone surrogate", both(id="\ud800"), "id has a lone surrogate"),
]


@pytest.mark.parametrize(("body", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_wrong_is_named(body: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(message)):
        read(body)


LEFT_OVER = binary(["가"], ["나"])
BROKEN: list[tuple[str, dict[str, Any], bytes, type[RequestError], str]] = [
    ("data left over", LEFT_OVER[0], LEFT_OVER[1] + b"x", InvalidRequest, "1 bytes follow the JSON"),
    (
        "no data at all",
        binary(["가"], ["나"])[0],
        b"",
        InvalidRequest,
        "binary_data_size must be a number of bytes",
    ),
    (
        "another count",
        *binary(["가"], ["나"], shape=[2]),
        InvalidRequest,
        "inputs[0].shape doesn't fit its data",
    ),
    ("too many", *binary(["가"] * 4, ["나"] * 4), LimitExceeded, "more than 3 pairs in one request"),
    ("JSON as well", *binary(["가"], ["나"], data=["가"]), InvalidRequest, "both data and parameters.binary"),
    (
        "a negative size",
        *binary(["가"], ["나"], parameters={"binary_data_size": -1}),
        InvalidRequest,
        "inputs[0].parameters.binary_data_size must be a number",
    ),
    (
        "true as a size",
        *binary(["가"], ["나"], parameters={"binary_data_size": True}),
        InvalidRequest,
        "inputs[0].parameters.binary_data_size must be a number",
    ),
]


@pytest.mark.parametrize(
    ("body", "data", "kind", "message"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_what_is_wrong_with_binary_data_is_named(
    body: dict[str, Any], data: bytes, kind: type[RequestError], message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        read(body, data)
    assert type(caught.value) is kind
    assert message in str(caught.value)


def sized(chunk: bytes) -> dict[str, Any]:
    return {
        "name": "premise",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"binary_data_size": len(chunk)},
    }


@pytest.mark.parametrize("chunk", [b"\x05\x00\x00\x00abc", b"\x01\x00", b"\xff\xff\xff\xffa"])
def test_binary_data_that_is_cut_short_is_named(chunk: bytes) -> None:
    with pytest.raises(InvalidRequest, match="cut short: element 0 ends after it"):
        read({"inputs": [sized(chunk)]}, chunk)


def test_binary_data_that_is_no_utf8_is_the_fault_of_its_pair() -> None:
    chunk = pack(["가"]) + b"\x01\x00\x00\x00\xff"
    with pytest.raises(InvalidPair, match=r"inputs\.data\[1\]\.premise is not valid UTF-8"):
        read({"inputs": [sized(chunk) | {"shape": [2]}]}, chunk)


@given(st.binary(max_size=60), st.integers(-2, 60))
def test_any_binary_data_is_read_or_refused_in_one_short_line(chunk: bytes, size: int) -> None:
    body = {"inputs": [sized(chunk) | {"parameters": {"binary_data_size": size}}]}
    with pytest.raises(RequestError) as caught:
        read(body, chunk)  # there is never a hypothesis
    assert str(caught.value).splitlines() == [str(caught.value)]
    assert len(str(caught.value)) < 200
