"""What schemathesis loads beside docs/openapi.json: what no schema can say, and a client for each request."""

from __future__ import annotations

import itertools
import json
from typing import Any

import schemathesis

_clients = itertools.count(1)


@schemathesis.hook
def before_call(
    _context: schemathesis.HookContext, case: schemathesis.Case[Any], _kwargs: dict[str, Any]
) -> None:
    """Name a client of its own, as a trusted proxy does, so that no rate is exceeded."""
    number = next(_clients)
    case.headers["X-Forwarded-For"] = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    """Give the tensors of a KServe V2 request equal lengths, and shapes that fit them; nothing is cut."""
    try:
        tensors = [(tensor, _texts(tensor["data"]), tensor.get("shape", [1])) for tensor in body["inputs"]]
        longest = max(len(texts) for _, texts, _ in tensors)
        if all(1 <= len(shape) <= 2 and 1 <= side <= 64 for _, _, shape in tensors for side in shape):
            for tensor, texts, shape in tensors:
                filled = [*texts, *["0"] * (longest - len(texts))]
                nested = isinstance(tensor["data"][0], list)
                tensor["data"] = [[text] for text in filled] if nested else filled
                tensor["shape"] = [longest, 1][: 2 if nested else len(shape)]
    except (AttributeError, LookupError, TypeError, ValueError):
        pass  # another shape, or a body that is meant to be wrong
    return body


def _texts(data: Any) -> list[str]:
    """The elements of a tensor, flat or nested, if all of them are texts."""
    rows = data if all(isinstance(row, list) for row in data) else [[row] for row in data]
    texts = [text for row in rows for text in row]
    if not (isinstance(data, list) and all(rows) and all(isinstance(text, str) for text in texts)):
        raise TypeError
    return texts


@schemathesis.hook
def filter_case(_context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Leave out forms with a value that isn't text: as part of a form it is, and so no longer wrong."""
    if "form" not in (case.media_type or "") or not isinstance(case.body, dict):
        return True
    return all(isinstance(value, str) for value in case.body.values())


@schemathesis.deserializer("application/octet-stream")
def read_binary(_context: schemathesis.DeserializationContext, response: schemathesis.Response) -> Any:
    """The JSON of a response with binary tensors, of which the JSON says how many bytes follow."""
    (length,) = response.headers["inference-header-content-length"]
    described = json.loads(response.content[: int(length)])
    parameters = [output.get("parameters", {}) for output in described["outputs"]]
    sizes = [each.get("binary_data_size", 0) for each in parameters]
    assert int(length) + sum(sizes) == len(response.content)
    return described
