"""The tensors of KServe's V2 protocol (the Open Inference Protocol): inputs, and outputs as asked for.

A tensor's data is in the JSON or, with the protocol's extension for binary data, behind it: each element is
its length in four bytes, little-endian, and its content.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from handler.body import limit_pairs, lone_surrogate, type_name
from handler.errors import InvalidPair, InvalidRequest, LimitExceeded

INPUTS = ("premise", "hypothesis")
OUTPUTS = ("label", "probabilities", "truncated")
EXPLANATION = "explanation"
"""A further output, at the addresses for explanations."""


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that a client asks for."""

    name: str
    binary: bool = False


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """A request in tensors; its texts are not checked yet."""

    rows: list[dict[str, Any]]
    """A premise and a hypothesis each."""
    id: str | None
    outputs: tuple[RequestedOutput, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An output, its data row by row."""

    name: str
    datatype: str
    shape: list[int]
    data: Sequence[Any]

    def to_bytes(self) -> bytes:
        """The data in the binary form: texts as those of an input, other values little-endian."""
        if self.datatype == "BYTES":
            texts = [text.encode() for text in self.data]
            return b"".join(struct.pack("<I", len(text)) + text for text in texts)
        return struct.pack(f"<{len(self.data)}{'?' if self.datatype == 'BOOL' else 'd'}", *self.data)


def read_tensors(
    body: dict[str, Any], binary: bytes, max_pairs: int, offered: Sequence[str] = OUTPUTS
) -> TensorRequest:
    """Read a request of two BYTES tensors of equal length, or of one premise and many hypotheses.

    Args:
        body: its JSON.
        binary: what follows the JSON.
        max_pairs: the largest number of rows.
        offered: the names of the outputs that there are.

    Raises:
        InvalidRequest, InvalidPair, LimitExceeded: with a message that names the place.
    """
    request_id = body.get("id")
    if not (request_id is None or isinstance(request_id, str)):
        raise InvalidRequest(f"id must be a string, not {type_name(request_id)}")
    if lone_surrogate(request_id or "") is not None:
        raise InvalidRequest("id has a lone surrogate")
    outputs = _requested_outputs(body, offered)
    inputs: dict[str, list[Any]] = {}
    for index, tensor in enumerate(_list(body["inputs"], "inputs")):
        where = f"inputs[{index}]"
        name = _name(tensor, where, INPUTS)
        if name in inputs:
            raise InvalidRequest(f"{where}.name is '{name}' again: each may be given once")
        if tensor.get("datatype") != "BYTES":
            raise InvalidRequest(f"{where}.datatype must be 'BYTES'")
        inputs[name], binary = _elements(tensor, binary, where, max_pairs)
    if binary:
        raise InvalidRequest(f"{len(binary)} bytes follow the JSON that no input's binary_data_size counts")
    for name in INPUTS:
        if name not in inputs:
            raise InvalidRequest(f"inputs has no tensor named '{name}'")
    premises, hypotheses = inputs["premise"], inputs["hypothesis"]
    count = len(hypotheses)
    if len(premises) not in (1, count):
        raise InvalidRequest(f"inputs differ in length: {len(premises)} premises and {count} hypotheses")
    limit_pairs(count, max_pairs)
    if len(premises) == 1:
        premises *= count
    rows = [{"premise": p, "hypothesis": h} for p, h in zip(premises, hypotheses, strict=True)]
    return TensorRequest(rows, request_id, outputs)


def _requested_outputs(body: dict[str, Any], offered: Sequence[str]) -> tuple[RequestedOutput, ...]:
    """The outputs asked for by name; where none is, all of them."""
    all_binary = _flag(_parameters(body, ""), "binary_data_output", "", default=False)
    named = body.get("outputs")
    asked = [] if named is None else _list(named, "outputs")
    outputs: dict[str, RequestedOutput] = {}
    for index, output in enumerate(asked):
        where = f"outputs[{index}]"
        name = _name(output, where, offered)
        if name in outputs:
            raise InvalidRequest(f"{where}.name is '{name}' again: each may be asked for once")
        parameters = _parameters(output, f"{where}.")
        if "classification" in parameters:
            raise InvalidRequest(
                f"{where}.parameters.classification is not offered; 'label' is the best class"
            )
        binary = _flag(parameters, "binary_data", f"{where}.", default=all_binary)
        outputs[name] = RequestedOutput(name, binary)
    return tuple(outputs.values()) or tuple(RequestedOutput(name, all_binary) for name in offered)


def _elements(tensor: dict[str, Any], binary: bytes, where: str, max_pairs: int) -> tuple[list[Any], bytes]:
    """The elements of an input tensor, and the binary data that is left for other tensors."""
    size = _parameters(tensor, f"{where}.").get("binary_data_size")
    if size is None:
        return _json_elements(tensor, where), binary
    if "data" in tensor:
        raise InvalidRequest(f"{where} has both data and parameters.binary_data_size")
    if type(size) is not int or not 0 <= size <= len(binary):
        raise InvalidRequest(
            f"{where}.parameters.binary_data_size must be a number of bytes that follow the JSON "
            "(whose length the header Inference-Header-Content-Length gives)"
        )
    elements = _binary_elements(binary[:size], tensor["name"], where, max_pairs)
    _check_shape(tensor.get("shape", [len(elements)]), len(elements), where)
    return elements, binary[size:]


def _json_elements(tensor: dict[str, Any], where: str) -> list[Any]:
    """Data in the JSON, flat or nested as its shape says."""
    data = _list(tensor.get("data"), f"{where}.data")
    nested = [row for row in data if isinstance(row, list)]
    if not nested:
        _check_shape(tensor.get("shape", [len(data)]), len(data), where)
        return data
    shape = tensor.get("shape", [len(data), len(nested[0])])
    flat = [text for row in nested for text in row]
    _check_shape(shape, len(flat), where)
    if len(shape) != 2 or [len(row) for row in nested] != [shape[1]] * len(data):
        raise InvalidRequest(f"{where}.data is not nested as its shape says")
    return flat


def _binary_elements(chunk: bytes, name: str, where: str, max_pairs: int) -> list[str]:
    """The texts of a BYTES tensor in the binary form."""
    texts: list[str] = []
    start = 0
    while start < len(chunk):
        if len(texts) == max_pairs:
            raise LimitExceeded(f"more than {max_pairs} pairs in one request, which is the limit")
        begin = start + 4
        start = begin + int.from_bytes(chunk[start:begin], "little")
        if start > len(chunk):
            raise InvalidRequest(
                f"{where} has binary data that is cut short: element {len(texts)} ends after it"
            )
        try:
            texts.append(chunk[begin:start].decode())
        except UnicodeDecodeError:
            raise InvalidPair(f"inputs.data[{len(texts)}].{name} is not valid UTF-8") from None
    return texts


def _check_shape(shape: Any, size: int, where: str) -> None:
    valid = isinstance(shape, list) and all(type(side) is int and 0 <= side <= size for side in shape)
    if not (valid and len(shape) <= 2 and prod(shape) == size):
        raise InvalidRequest(f"{where}.shape doesn't fit its data: expected [{size}] or [{size}, 1]")


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidRequest(f"{where} must be a list, not {type_name(value)}")
    return value


def _name(tensor: Any, where: str, known: Sequence[str]) -> str:
    if not isinstance(tensor, dict):
        raise InvalidRequest(f"{where} must be an object, not {type_name(tensor)}")
    name = tensor.get("name")
    if name not in known:
        raise InvalidRequest(f"{where}.name must be {' or '.join(map(repr, known))}")
    return str(name)


def _parameters(holder: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The parameters of a request or of a tensor; what isn't known in them is ignored."""
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"{prefix}parameters must be an object, not {type_name(parameters)}")
    if "shared_memory_region" in parameters:
        raise InvalidRequest(f"{prefix}parameters.shared_memory_region is not offered; send data in the body")
    return parameters


def _flag(parameters: dict[str, Any], name: str, prefix: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{prefix}parameters.{name} must be a boolean, not {type_name(value)}")
    return value
