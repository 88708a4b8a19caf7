"""The examples in docs/examples, run against a real service behind a gateway that wants a key."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from scripts import PROJECT
from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings
from scripts.torchserve.server import Ports, TorchServe
from tests.programs import need

KEY = "0123456789abcdef0123456789abcdef"
PAIR = ("비가 온다.", "날씨가 맑다.")
EXAMPLES = {"ask.py": lambda: sys.executable, "ask.mjs": lambda: need("node")}


@pytest.fixture(scope="module")
def locked(server: TorchServe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    need("nginx")
    service = Address("127.0.0.1", server.ports.inference)
    settings = GatewaySettings(service, Address("127.0.0.1", Ports.free().inference), keys=(KEY,), rate=1)
    with Gateway(tmp_path_factory.mktemp("gateway") / "gateway.log", settings) as running:
        yield running


def refusals(gateway: Gateway) -> int:
    """How often a prediction was refused because too many were asked for."""
    assert gateway.log
    return gateway.log.read_text(encoding="utf-8").count('"endpoint": "/predictions/nli", "status": 429')


def ask(name: str, url: str, key: str) -> subprocess.CompletedProcess[str]:
    command = [EXAMPLES[name](), str(PROJECT / "docs" / "examples" / name), *PAIR]
    environment = os.environ | {"NLI_URL": url, "NLI_KEY": key, "NO_PROXY": "*"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_answered_and_tries_again(name: str, locked: Gateway, server: TorchServe) -> None:
    body = dict(zip(("premise", "hypothesis"), PAIR, strict=True))
    expected = requests.post(f"{server.url}/predictions/nli", json=body, timeout=60).json()
    before, tries = refusals(locked), 0
    with ThreadPoolExecutor(1) as pool:
        while refusals(locked) == before:  # an example may also be let in at once
            tries += 1
            assert tries < 10, "no example was refused"
            asked = pool.submit(ask, name, locked.url, KEY)
            while refusals(locked) == before and not asked.done():
                requests.get(f"{locked.url}/", timeout=30)  # takes what this address may ask
            done = asked.result()
            assert done.returncode == 0, done.stderr
    label, probability = done.stdout.split()
    assert label == expected["label"]
    assert float(probability) == pytest.approx(expected["probabilities"][label], abs=1e-6)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_says_what_was_wrong(name: str, locked: Gateway) -> None:
    done = ask(name, locked.url, "wrong")
    assert done.returncode == 1
    assert "401: a key is required" in done.stderr
