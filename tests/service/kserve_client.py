"""KServe's own REST client as it comes: asks the service at an address, and prints what it was told as JSON.

Run by an interpreter that has KServe's package, which nothing of this project does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable
from typing import Any

import httpx
import numpy
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

TEXTS = {"premise": ["비가 온다.", "가"], "hypothesis": ["날씨가 맑다.", "나"]}


def tensors(binary: bool) -> list[Any]:
    inputs = [InferInput(name, [2], "BYTES") for name in TEXTS]
    for tensor in inputs:
        tensor.set_data_from_numpy(numpy.array(TEXTS[tensor.name], dtype=object), binary_data=binary)
    return inputs


def plain(response: Any) -> dict[str, Any]:
    return {output.name: output.as_numpy().tolist() for output in response.outputs}


async def refused(call: Awaitable[Any]) -> str | None:
    try:
        await call
    except httpx.HTTPStatusError as error:
        return str(error)
    return None


async def ask(address: str, probes: bool) -> dict[str, Any]:
    told: dict[str, Any] = {}
    rows = [dict(zip(TEXTS, row, strict=True)) for row in zip(*TEXTS.values(), strict=True)]
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        told["v1"] = await client.infer(address, {"instances": rows}, model_name="nli")
        told["v1 error"] = await refused(client.infer(address, {"instances": [{}]}, model_name="nli"))
        if probes:
            told["v1 ready"] = await client.is_model_ready(address, "nli")
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        for name, request in {
            "v2": InferRequest("nli", tensors(binary=False)),
            "v2 binary": InferRequest("nli", tensors(binary=True), parameters={"binary_data_output": True}),
            "v2 outputs": InferRequest(
                "nli", tensors(binary=True), request_outputs=[RequestedOutput("label", {"binary_data": True})]
            ),
        }.items():
            told[name] = plain(await client.infer(address, request, model_name="nli"))
        broken = InferRequest("nli", tensors(binary=False)[:1])
        told["v2 error"] = await refused(client.infer(address, broken, model_name="nli"))
        if probes:
            told["v2 live"] = await client.is_server_live(address)
            told["v2 ready"] = await client.is_server_ready(address)
            told["v2 model ready"] = await client.is_model_ready(address, "nli")
            told["v2 other model"] = await client.is_model_ready(address, "other")
    return told


print(json.dumps(asyncio.run(ask(sys.argv[1], sys.argv[2] == "probes")), default=bytes.decode))
