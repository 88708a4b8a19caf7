"""The gateway does what the Open Inference Protocol's own OpenAPI document says of `/v2`.

The document is not part of this project. `TEST_OIP_DOCUMENT` names a copy of it: open_inference_rest.yaml
in https://github.com/kserve/open-inference-protocol/tree/main/specification/protocol.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.service.test_openapi import cases, fuzz

VERSION = "/versions/${MODEL_VERSION}"


@pytest.fixture
def protocol() -> Any:
    """The published document with the addresses that this service has: one model, no version in them."""
    named = os.environ.get("TEST_OIP_DOCUMENT")
    if not named:
        pytest.skip("TEST_OIP_DOCUMENT must name a copy of the protocol's open_inference_rest.yaml")
    document = yaml.safe_load(Path(named).read_text(encoding="utf-8"))
    published = document["paths"]
    document["paths"] = {}
    for path, item in published.items():
        item.pop("parameters", None)  # the model's name and version, which are literal here
        document["paths"][path.replace(VERSION, "").replace("${MODEL_NAME}", "nli")] = item
    assert set(document["paths"]) == {
        "/v2/",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/nli",
        "/v2/models/nli/ready",
        "/v2/models/nli/infer",
    }
    return document


def hold(document: Any, url: str, folder: Path, *options: str) -> tuple[int, str]:
    """Run schemathesis with the document."""
    file = folder / "protocol.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    return fuzz(file, url, folder, *options)


def narrow_to(told: Any, schemas: Any) -> None:
    """Let requests have the tensors of a model, as its metadata describes them, and outputs that it has."""
    inputs = []
    for tensor in told["inputs"]:
        assert (tensor["datatype"], tensor["shape"]) == ("BYTES", [-1])
        texts = {"type": "array", "items": {"type": "string", "pattern": "^[가-힣]{1,20}$"}, "minItems": 1}
        own = {
            "name": {"enum": [tensor["name"]]},
            "datatype": {"enum": [tensor["datatype"]]},
            "shape": {"enum": [[1]]},  # the hook fits it to the data
            "data": texts | {"maxItems": 8},
        }
        request = schemas["request_input"]
        name = f"request_{tensor['name']}"
        schemas[name] = request | {"properties": request["properties"] | own}
        inputs.append({"$ref": f"#/components/schemas/{name}"})
    of_request = schemas["inference_request"]["properties"]
    each_once = [
        {"contains": {"properties": {"name": {"const": tensor["name"]}}}, "maxContains": 1}
        for tensor in told["inputs"]
    ]
    count = {"minItems": len(inputs), "maxItems": len(inputs)}
    of_request["inputs"] |= {"items": {"anyOf": inputs}, "allOf": each_once} | count
    of_request["outputs"]["maxItems"] = 1  # each may be named once
    output = {"enum": [tensor["name"] for tensor in told["outputs"]]}
    schemas["request_output"]["properties"]["name"] = output


def test_any_request_of_the_protocol(gateway_address: str, protocol: Any, tmp_path: Path) -> None:
    any_tensor = ("--exclude-checks", "positive_data_acceptance")  # of any name, which no model reads
    code, said = hold(protocol, gateway_address, tmp_path, "--max-examples", "60", *any_tensor)
    assert code == 0, said
    assert cases(said) >= 150


def test_requests_with_the_tensors_of_this_model(gateway_address: str, protocol: Any, tmp_path: Path) -> None:
    told = requests.get(f"{gateway_address}/v2/models/nli", timeout=30).json()
    protocol["openapi"] = "3.1.0"  # has "contains"
    narrow_to(told, protocol["components"]["schemas"])
    options = ["--max-examples", "60", "--phases", "fuzzing", "--include-path", "/v2/models/nli/infer"]
    code, said = hold(protocol, gateway_address, tmp_path, *options, "--mode", "positive")
    assert (code, "mostly rejected" in said) == (0, False), said
    assert cases(said) >= 60


def test_a_planted_disagreement_is_found(gateway_address: str, protocol: Any, tmp_path: Path) -> None:
    protocol["components"]["schemas"]["metadata_model_response"]["required"].append("parameters")
    code, said = hold(protocol, gateway_address, tmp_path, "--include-path", "/v2/models/nli")
    assert (code, "violates schema" in said) == (1, True), said
