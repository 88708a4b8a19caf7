"""KServe's V2 protocol by the clients that people have, at TorchServe's own port and through the gateway."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings
from scripts.torchserve.server import Ports, TorchServe
from tests.programs import need
from tests.service.test_answers import GOOD, pairs

OUTPUTS = ["label", "probabilities", "truncated"]


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address.removeprefix("http://")) as client:
        yield client


@pytest.fixture
def triton_at_gateway(gateway_address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(gateway_address.removeprefix("http://")) as client:
        yield client


def tensors(rows: list[dict[str, str]], column: bool = False, binary: bool = True) -> list[triton.InferInput]:
    """Input tensors of shape [n], or [n, 1] as a column."""
    made = []
    for name in ("premise", "hypothesis"):
        data = np.array([row[name] for row in rows], dtype=object)
        data = data.reshape(-1, 1) if column else data
        made.append(triton.InferInput(name, list(data.shape), "BYTES"))
        made[-1].set_data_from_numpy(data, binary_data=binary)
    return made


@pytest.fixture(scope="module")
def expected(url: str) -> list[dict[str, Any]]:
    """What the plain API says of 64 pairs."""
    answers: list[dict[str, Any]] = requests.post(url, json=pairs(64), timeout=60).json()
    return answers


def check(result: triton.InferResult, expected: list[dict[str, Any]]) -> None:
    labels = result.as_numpy("label").tolist()  # text from JSON, bytes from binary data
    assert [label if isinstance(label, str) else label.decode() for label in labels] == [
        answer["label"] for answer in expected
    ]
    assert result.as_numpy("truncated").tolist() == [answer["truncated"] for answer in expected]
    probabilities = [list(answer["probabilities"].values()) for answer in expected]
    np.testing.assert_allclose(result.as_numpy("probabilities"), probabilities, atol=1e-6)


def test_tritonclient_with_its_defaults(
    client: triton.InferenceServerClient, expected: list[dict[str, Any]]
) -> None:
    result = client.infer("nli", tensors(pairs(64)))
    check(result, expected)
    assert result.get_response()["model_name"] == "nli"
    assert [output["name"] for output in result.get_response()["outputs"]] == OUTPUTS
    assert all("binary_data_size" in output["parameters"] for output in result.get_response()["outputs"])


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("column", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_tritonclient_in_every_form(
    client: triton.InferenceServerClient,
    expected: list[dict[str, Any]],
    binary: bool,
    column: bool,
    compression: str | None,
) -> None:
    inputs = tensors(pairs(3), column, binary)
    outputs = [triton.InferRequestedOutput(name, binary_data=not binary) for name in OUTPUTS]
    result = client.infer(
        "nli",
        inputs,
        outputs=outputs,
        request_id="a-7",
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
        priority=1,
        parameters={"my": "own"},
    )
    check(result, expected[:3])
    assert result.get_response()["id"] == "a-7"


def test_only_the_outputs_asked_for_are_sent_in_their_order(client: triton.InferenceServerClient) -> None:
    outputs = [
        triton.InferRequestedOutput("truncated", binary_data=False),
        triton.InferRequestedOutput("label"),
    ]
    result = client.infer("nli", tensors([GOOD]), outputs=outputs)
    assert [output["name"] for output in result.get_response()["outputs"]] == ["truncated", "label"]
    assert result.get_response()["outputs"][0]["data"] == [False]
    assert result.as_numpy("probabilities") is None


@pytest.mark.parametrize(
    ("rows", "outputs", "message"),
    [
        ([{"premise": " ", "hypothesis": "가"}], [], "inputs.data[0].premise is blank"),
        (pairs(65), [], "more than 64 pairs in one request, which is the limit"),
        ([GOOD], [triton.InferRequestedOutput("logits")], "outputs[0].name must be 'label' or"),
        ([GOOD], [triton.InferRequestedOutput("label", class_count=2)], "classification is not offered"),
    ],
)
def test_tritonclient_shows_what_was_wrong(
    client: triton.InferenceServerClient, rows: list[dict[str, str]], outputs: list[Any], message: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("nli", tensors(rows), outputs=outputs)
    assert message in caught.value.message()
    assert caught.value.status() in {"400", "413"}


def test_tritonclient_finds_the_server_and_the_model(
    triton_at_gateway: triton.InferenceServerClient,
) -> None:
    assert triton_at_gateway.is_server_live()
    assert triton_at_gateway.is_server_ready()
    assert triton_at_gateway.is_model_ready("nli")
    assert not triton_at_gateway.is_model_ready("other")
    assert triton_at_gateway.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = triton_at_gateway.get_model_metadata("nli")
    assert (metadata["name"], metadata["versions"]) == ("nli", ["1.0"])
    assert metadata["inputs"] == [
        {"name": name, "datatype": "BYTES", "shape": [-1]} for name in ("premise", "hypothesis")
    ]
    assert metadata["outputs"] == [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 3]},
        {"name": "truncated", "datatype": "BOOL", "shape": [-1]},
    ]
    with pytest.raises(InferenceServerException, match="there is nothing at this address"):
        triton_at_gateway.get_model_metadata("other")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/v1/models/other:predict",
        "/v2/models/nli/explain",
        "/v2/models/nli/versions/1.0/infer",
        "/v2/models/other/infer",
        "/v2/models/nliX/ready",
        "/v2/repository/index",
        "/v2/health/live/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_other_addresses_of_kserve_stay_closed(gateway_address: str, method: str, path: str) -> None:
    answer = requests.request(method, gateway_address + path, timeout=30)
    message = "there is nothing at this address"
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {"error": message, "code": 404, "type": "not_found", "message": message}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/models/nli:predict", "POST"),
        ("PUT", "/v2/models/nli/infer", "POST"),
        ("POST", "/v1/models/nli", "GET, HEAD"),
        ("POST", "/v2/models/nli", "GET, HEAD"),
        ("POST", "/v2/models/nli/ready", "GET, HEAD"),
        ("POST", "/v2/health/live", "GET, HEAD"),
        ("POST", "/v2", "GET, HEAD"),
    ],
)
def test_other_methods_are_405(gateway_address: str, method: str, path: str, allowed: str) -> None:
    answer = requests.request(method, gateway_address + path, timeout=30)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    assert answer.json()["error"] == answer.json()["message"] == "this address doesn't take this method"


def test_the_server_is_named_as_it_is_installed(gateway_address: str) -> None:
    for path in ("/v2", "/v2/"):
        metadata = requests.get(gateway_address + path, timeout=30).json()
        assert (metadata["name"], metadata["version"]) == ("torchserve", version("torchserve"))


def test_a_nested_tensor_in_json_and_an_error_in_both_forms(address: str) -> None:
    body = {
        "inputs": [
            {"name": name, "datatype": "BYTES", "shape": [1, 1], "data": [[text]]}
            for name, text in GOOD.items()
        ]
    }
    url = f"{address}/v2/models/nli/infer"
    answer = requests.post(url, json=body, timeout=60).json()
    assert json.loads(answer["parameters"]["labels"]) == ["entailment", "contradiction", "neutral"]
    del body["inputs"][1]
    refused = requests.post(url, json=body, timeout=60)
    message = "inputs has no tensor named 'hypothesis'"
    assert refused.headers["Content-Type"] == "application/json"
    assert refused.json() == {"error": message, "code": 400, "type": "invalid_request", "message": message}


def test_refusals_of_the_gateway_are_shown_by_tritonclient(tmp_path: Path) -> None:
    need("nginx")
    key = "0123456789abcdef0123456789abcdef"
    nobody = Address("127.0.0.1", Ports.free().inference)
    listen = Address("127.0.0.1", Ports.free().inference)
    settings = GatewaySettings(service=nobody, listen=listen, readiness=nobody, keys=(key,))
    with Gateway(tmp_path / "log", settings), triton.InferenceServerClient(str(listen)) as client:
        assert client.is_server_live()
        assert not client.is_server_ready()
        assert not client.is_model_ready("nli")
        for path in ("/v2/health/ready", "/v2/models/nli/ready", "/v1/models/nli"):
            answer = requests.get(f"http://{listen}{path}", timeout=30)
            assert (answer.status_code, answer.json()["error"]) == (503, "the service is not ready")
        with pytest.raises(InferenceServerException, match=r"\[401\] a key is required"):
            client.infer("nli", tensors([GOOD]))
        with pytest.raises(InferenceServerException, match=r"\[502\] the service is not there"):
            client.infer("nli", tensors([GOOD]), headers={"Authorization": f"Bearer {key}"})


def test_kserves_own_client(kserve_python: Path, address: str, server: TorchServe, url: str) -> None:
    script = Path(__file__).with_name("kserve_client.py")
    probes = "none" if address == server.url else "probes"
    ran = subprocess.run(
        [str(kserve_python), str(script), address, probes],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    rows = [GOOD, {"premise": "가", "hypothesis": "나"}]
    expected = requests.post(url, json=rows, timeout=60).json()
    assert [answer["label"] for answer in told["v1"]["predictions"]] == [each["label"] for each in expected]
    for name in ("v2", "v2 binary", "v2 outputs"):
        assert told[name]["label"] == [each["label"] for each in expected]
    for name in ("v2", "v2 binary"):
        values = [list(each["probabilities"].values()) for each in expected]
        np.testing.assert_allclose(told[name]["probabilities"], values, atol=1e-6)
    assert told["v1 error"].startswith("instances[0].premise is missing, '400 Bad Request' for url")
    assert told["v2 error"].startswith("inputs has no tensor named 'hypothesis', '400 Bad Request' for url")
    if probes == "probes":
        ready = ["v1 ready", "v2 live", "v2 ready", "v2 model ready", "v2 other model"]
        assert [told[name] for name in ready] == [True, True, True, True, False]
