"""The service does what docs/openapi.json says: schemathesis makes requests from it, checks responses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts import PROJECT
from scripts.torchserve.gateway_settings import DOCUMENT

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
HEALTHY = ["--suppress-health-check", "all"]  # on a busy machine data comes slowly, which is no finding
PREDICT = ["--include-path", "/predictions/nli"]


def fuzz(document: Path, url: str, folder: Path, *options: str, minutes: float = 5) -> tuple[int, str]:
    """The exit code of schemathesis and what it printed."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "run"]
    done = subprocess.run(
        [*command, str(document), "--url", url, "--seed", "1", *HEALTHY, *options],
        env=os.environ | {"PYTHONPATH": str(PROJECT), "NO_PROXY": "*", "COLUMNS": "200"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60 * minutes,
        check=False,
    )
    return done.returncode, f"{done.stdout[-20_000:]}{done.stderr[-5_000:]}"


def cases(said: str) -> int:
    """The number of requests that schemathesis says it made."""
    (count,) = re.findall(r"([\d,]+) generated", said)
    return int(count.replace(",", ""))


def test_the_gateway_hands_out_the_document(gateway_address: str) -> None:
    response = requests.get(f"{gateway_address}/openapi.json", timeout=30)
    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == json.loads(DOCUMENT.read_text(encoding="utf-8"))
    assert requests.post(f"{gateway_address}/openapi.json", timeout=30).headers["Allow"] == "GET, HEAD"


def test_document_and_service_agree(gateway_address: str, tmp_path: Path) -> None:
    code, said = fuzz(
        DOCUMENT, gateway_address, tmp_path, "--max-examples", "3", "--phases", "examples,fuzzing"
    )
    assert code == 0, said
    assert cases(said) >= 3 * 12


@pytest.mark.long
def test_document_and_service_agree_in_5000_cases(gateway_address: str, tmp_path: Path) -> None:
    code, said = fuzz(DOCUMENT, gateway_address, tmp_path, "--max-examples", "300", minutes=60)
    assert code == 0, said
    assert cases(said) >= 5000


def promise_another_type(document: Any) -> None:
    document["components"]["schemas"]["PredictionFields"]["properties"]["truncated"]["type"] = "string"


def forget_a_status(document: Any) -> None:
    del document["paths"]["/predictions/nli"]["post"]["responses"]["400"]


def promise_a_header(document: Any) -> None:
    header = {"required": True, "schema": {"type": "string"}}
    document["components"]["responses"]["Any"]["headers"]["X-Model"] = header


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (promise_another_type, "violates schema"),
        (forget_a_status, "Undocumented status code"),
        (promise_a_header, "Missing required response headers"),
    ],
)
def test_a_planted_disagreement_is_found(
    gateway_address: str, tmp_path: Path, plant: Callable[[Any], None], found: str
) -> None:
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    plant(document)
    planted = tmp_path / "openapi.json"
    planted.write_text(json.dumps(document), encoding="utf-8")
    options = [
        *PREDICT,
        "--max-examples",
        "10",
        "--phases",
        "examples,fuzzing",
        "--max-failures",
        "1",
        "--no-shrink",
    ]
    code, said = fuzz(planted, gateway_address, tmp_path, *options)
    assert (code, found in said) == (1, True), said
