"""KServe's objects: their containers are valid for Kubernetes, and agree with the code that they start.

tests/service/test_kserve_objects.py holds them against KServe's own models.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
import yaml

from scripts import PROJECT
from scripts.serve import main as serve_verb
from scripts.torchserve.ports import Ports
from scripts.torchserve.server import START_SECONDS
from scripts.torchserve.service import STOP_SECONDS
from tests.programs import need_package
from tests.unit.deploy.chart import VERSIONS

FOLDER = PROJECT / "deploy" / "kserve"


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


RUNTIME = read("servingruntime")["spec"]
(CONTAINER,) = RUNTIME["containers"]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field_of_the_container(version: str) -> None:
    validate = need_package("kubernetes_validate").validate
    spec = {"containers": [CONTAINER], "volumes": RUNTIME["volumes"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nli"}, "spec": spec}
    assert validate(pod, version, strict=True) == version


def test_the_verb_knows_every_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert CONTAINER["command"] == ["python", "scripts/serve.py"]
    monkeypatch.setattr(sys, "argv", ["serve.py", *CONTAINER["args"], "--no-such-option"])
    with pytest.raises(SystemExit):
        serve_verb()
    assert capsys.readouterr().err.endswith("error: unrecognized arguments: --no-such-option\n")


def test_probes_ask_where_the_gateway_answers() -> None:
    options = dict(each.split("=") for each in CONTAINER["args"] if "=" in each)
    (port,) = [each["containerPort"] for each in CONTAINER["ports"]]
    assert options["--gateway-address"] == f"0.0.0.0:{port}"
    assert options["--metrics-address"] == f"0.0.0.0:{Ports().metrics}"
    for probe in ("startupProbe", "readinessProbe"):
        assert CONTAINER[probe]["httpGet"] == {"path": "/ready", "port": port}
    startup = CONTAINER["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= START_SECONDS


@pytest.mark.parametrize("name", ["inferenceservice", "canary"])
def test_pods_have_the_time_that_a_stop_needs(name: str) -> None:
    service = read(name)
    delay = next(float(each.split("=")[1]) for each in CONTAINER["args"] if each.startswith("--drain-delay="))
    predictors = [
        service["spec"]["predictor"],
        *(each["predictor"] for each in service["spec"].get("canary", [])),
    ]
    for predictor in predictors:
        assert predictor["terminationGracePeriodSeconds"] >= delay + STOP_SECONDS
        assert predictor["model"]["runtime"] == read("servingruntime")["metadata"]["name"]
        formats = [each["name"] for each in RUNTIME["supportedModelFormats"]]
        assert predictor["model"]["modelFormat"]["name"] in formats
    archive = re.fullmatch(r"--archive=/mnt/models/(.+)-[^-]+\.mar", CONTAINER["args"][0])
    assert archive
    assert archive[1] == service["metadata"]["name"]  # which is in KServe's URLs


def test_the_canary_is_the_service_with_a_share_for_the_next_model() -> None:
    plain, canary = read("inferenceservice"), read("canary")
    (added,) = canary["spec"].pop("canary")
    assert canary == plain
    assert 0 < added["trafficPercent"] < 100
    assert added["predictor"]["model"]["storageUri"] != plain["spec"]["predictor"]["model"]["storageUri"]
