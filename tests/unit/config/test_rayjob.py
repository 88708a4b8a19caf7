"""The KubeRay job, as far as it can be held against the project without Kubernetes."""

from __future__ import annotations

import re
import shlex
import sys
from typing import Any

import pytest
import yaml

from scripts import PROJECT, classify_many
from scripts.setup import locked

JOB: dict[str, Any] = yaml.safe_load((PROJECT / "deploy/ray/rayjob.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (PROJECT / "deploy/ray/Dockerfile").read_text(encoding="utf-8")
CLUSTER = JOB["spec"]["rayClusterSpec"]
(WORKERS,) = CLUSTER["workerGroupSpecs"]
PODS = [group["template"]["spec"] for group in (CLUSTER["headGroupSpec"], WORKERS)]


def test_the_command_is_one_that_the_verb_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    python, script, *arguments = shlex.split(JOB["spec"]["entrypoint"])
    assert (python, script) == ("python", "/srv/nli/scripts/classify_many.py")
    assert "WORKDIR /srv/nli" in (PROJECT / "deploy/Dockerfile").read_text(encoding="utf-8")
    monkeypatch.setitem(sys.modules, "scripts.bulk.run", None)  # the end of the way, once they are accepted
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(Exception, match="setup bulk"):
        classify_many.main()


def test_there_is_an_actor_for_each_core_of_the_workers_and_none_on_the_head() -> None:
    (container,) = WORKERS["template"]["spec"]["containers"]
    cores = WORKERS["replicas"] * int(container["resources"]["limits"]["cpu"])
    assert f"--workers {cores} " in JOB["spec"]["entrypoint"]
    assert CLUSTER["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}


def test_the_cluster_asks_for_a_token_and_reports_nothing() -> None:
    assert CLUSTER["authOptions"] == {"mode": "token"}
    for pod in PODS:
        (container,) = pod["containers"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_image_has_the_locked_ray_and_what_the_job_names() -> None:
    version = re.match(r"ray==(\S+)", locked("bulk")["ray"])
    assert version
    assert version[1] == CLUSTER["rayVersion"]
    assert {container["image"] for pod in PODS for container in pod["containers"]} == {"korean-nli-bulk"}
    assert "-t korean-nli-bulk" in DOCKERFILE
    for copied in re.findall(r"^COPY (\S+) ", DOCKERFILE, re.MULTILINE):
        assert f"!{copied}" in (PROJECT / ".dockerignore").read_text(encoding="utf-8").split()
