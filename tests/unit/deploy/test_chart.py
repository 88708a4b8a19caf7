"""The Helm chart: what it renders is valid, and agrees with the code that runs in its pods."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import re
import shlex
import subprocess
import sys
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from ipaddress import ip_network
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import CONFIG, PROJECT
from scripts.gateway import main as gateway_verb
from scripts.serve import main as serve_verb
from scripts.torchserve import gateway
from scripts.torchserve.ports import Ports
from scripts.torchserve.readiness import CHECK_SECONDS
from scripts.torchserve.server import START_SECONDS
from scripts.torchserve.service import STOP_SECONDS
from scripts.torchserve.sizing import MOST_WORKERS
from tests.programs import need_package
from tests.unit.deploy.chart import CHART, VALUES, VERSIONS, Manifest, manifest, render, values_of

NATIVE = {"apps/v1", "v1", "autoscaling/v2", "policy/v1", "networking.k8s.io/v1"}
MODELS = {
    "ScaledObject": "cloudcoil.models.keda.v1alpha1",
    "ServiceMonitor": "cloudcoil.models.prometheus_operator.v1",
    "PrometheusRule": "cloudcoil.models.prometheus_operator.v1",
}


def pod(values: str = "everything-hpa", name: str = "nli-korean-nli") -> Manifest:
    spec: Manifest = manifest(render(values_of(values)), "Deployment", name)["spec"]["template"]["spec"]
    return spec


def container(spec: Manifest, name: str) -> Manifest:
    containers: list[Manifest] = [*spec["initContainers"], *spec["containers"]]
    (found,) = [each for each in containers if each["name"] == name]
    return found


def options(spec: Manifest, name: str) -> dict[str, str]:
    arguments = [argument.partition("=") for argument in container(spec, name)["args"]]
    return {option: value for option, _, value in arguments}


# --- valid ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", VALUES, ids=lambda file: file.stem)
def test_kubernetes_knows_every_field(file: Path, version: str) -> None:
    validate = need_package("kubernetes_validate").validate
    manifests = render(values_of(file.stem.removesuffix("-values")))
    for each in manifests:
        if each["apiVersion"] in NATIVE:
            assert validate(each, version, strict=True) == version
        else:
            assert each["kind"] in {*MODELS, "HTTPRoute"}


@pytest.mark.parametrize(
    ("kind", "planted"),
    [
        ("Deployment", ("spec", "template", "spec", "terminationGracePeriodSecond")),
        ("HorizontalPodAutoscaler", ("spec", "maxReplica")),
        ("NetworkPolicy", ("spec", "ingres")),
    ],
)
def test_a_misspelt_field_would_be_found(kind: str, planted: tuple[str, ...]) -> None:
    kubernetes_validate = need_package("kubernetes_validate")
    broken = copy.deepcopy(manifest(render({}), kind))
    *path, field = planted
    place: Any = broken
    for step in path:
        place = place[step]
    place[field] = 1
    for version in VERSIONS:
        with pytest.raises(kubernetes_validate.ValidationError, match=field):
            kubernetes_validate.validate(broken, version, strict=True)


@pytest.mark.parametrize("values", ["everything-hpa", "keda"])
def test_objects_of_keda_and_prometheus_lose_no_field_in_their_models(values: str) -> None:
    for each in render(values_of(values)):
        if module := MODELS.get(each["kind"]):
            model = getattr(need_package(module), each["kind"])
            assert (
                model.model_validate(each).model_dump(mode="json", by_alias=True, exclude_unset=True) == each
            )


def test_a_misspelt_field_of_a_monitor_would_be_found() -> None:
    monitor = manifest(render(values_of("keda")), "ServiceMonitor")
    monitor["spec"]["endpoints"][0]["intervals"] = "15s"
    model = need_package(MODELS["ServiceMonitor"]).ServiceMonitor
    assert model.model_validate(monitor).model_dump(mode="json", by_alias=True, exclude_unset=True) != monitor


def test_helm_finds_nothing_to_complain_of() -> None:
    lint = need_package("helm_python").lint
    for file in VALUES:
        report = lint(CHART, yaml.safe_load(file.read_text(encoding="utf-8")), strict=True)
        complaints = [each for each in report["messages"] if each["severity"] > 1]
        assert (complaints, report["errors"]) == ([], [])


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"replica": 3}, "replica"),
        ({"gateway": {"ratte": 3}}, "ratte"),
        ({"model": {"source": "volume"}}, "volume"),
        ({"model": {"source": "download", "download": {"url": "https://example.org/nli-1.0.mar"}}}, "sha256"),
        ({"model": {"archive": "../nli.mar"}}, "archive"),
        ({"drainSeconds": "15"}, "drainSeconds"),
        ({"route": {"enabled": True}}, "parentRefs"),
        ({"canary": {"enabled": True}}, "canary.enabled needs route.enabled"),
        ({"autoscaling": {"kind": "keda"}}, "needs monitoring.enabled"),
        ({"autoscaling": {"queueSeconds": 0.5}}, "needs monitoring.enabled"),
    ],
    ids=str,
)
def test_values_that_cant_work_are_refused(values: dict[str, Any], complaint: str) -> None:
    helm = need_package("helm_python")
    with pytest.raises(helm.HelmError, match=complaint):
        render(values)


def test_every_value_has_a_default_and_is_known_to_the_schema() -> None:
    helm = need_package("helm_python")
    schema = helm.Chart.load(CHART).schema
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    def check(part: dict[str, Any], values: dict[str, Any], path: str) -> None:
        assert part["additionalProperties"] is False, path
        assert part["properties"].keys() == values.keys(), path
        for name, below in part["properties"].items():
            if "properties" in below and values[name]:
                check(below, values[name], f"{path}.{name}")

    check(schema, defaults, "values")


# --- in agreement with the code ----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["service", "gateway"])
def test_the_verbs_know_every_option(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for values in VALUES:
        found = container(pod(values.stem.removesuffix("-values")), verb)
        script = {"service": "serve", "gateway": "gateway"}[verb]
        assert found["command"] == ["python", f"scripts/{script}.py"]
        monkeypatch.setattr(sys, "argv", [script, *found["args"], "--no-such-option"])
        with pytest.raises(SystemExit):
            {"service": serve_verb, "gateway": gateway_verb}[verb]()


def test_an_unknown_option_is_all_that_the_verbs_complain_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, script, verb in (("service", "serve", serve_verb), ("gateway", "gateway", gateway_verb)):
        monkeypatch.setattr(sys, "argv", [script, *container(pod(), name)["args"], "--no-such-option"])
        with pytest.raises(SystemExit):
            verb()
        assert capsys.readouterr().err.endswith("error: unrecognized arguments: --no-such-option\n")


def test_probes_ask_where_the_code_answers() -> None:
    spec = pod()
    ports = Ports()
    service, door = container(spec, "service"), container(spec, "gateway")
    numbers = {port["name"]: port["containerPort"] for each in (service, door) for port in each["ports"]}
    assert numbers == {"readiness": ports.readiness, "metrics": ports.metrics, "http": 8000}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert service[probe]["httpGet"] == {"path": "/ready", "port": "readiness"}
    assert door["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "http"}
    assert "(ready|" in (CONFIG / "nginx.conf").read_text(encoding="utf-8")
    listening = options(spec, "service")
    assert listening["--readiness-address"] == f"0.0.0.0:{ports.readiness}"
    assert listening["--metrics-address"] == f"0.0.0.0:{ports.metrics}"
    asked = options(spec, "gateway")
    assert asked["--service"] == f"127.0.0.1:{ports.inference}"
    assert asked["--readiness"] == f"127.0.0.1:{ports.readiness}"
    assert asked["--listen"] == "0.0.0.0:8000"


def test_only_the_gateway_and_the_metrics_can_be_reached() -> None:
    manifests = render(values_of("everything-hpa"))
    policy = manifest(manifests, "NetworkPolicy")["spec"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == [8000, Ports().metrics]
    assert policy["egress"] == []
    exposed = [
        (each["metadata"]["name"].removeprefix("nli-korean-nli"), port["targetPort"])
        for each in manifests
        if each["kind"] == "Service"
        for port in each["spec"]["ports"]
    ]
    assert sorted(exposed) == [("", 8000), ("-canary", 8000), ("-metrics", Ports().metrics)]
    assert [rule["ports"] for rule in manifest(render({}), "NetworkPolicy")["spec"]["ingress"]] == [
        [{"port": 8000}]
    ]


def test_metrics_are_closed_where_no_monitor_is_named() -> None:
    values = {"monitoring": {"enabled": True}, "networkPolicy": {"monitors": []}}
    rules = manifest(render(values), "NetworkPolicy")["spec"]["ingress"]
    assert rules == [{"ports": [{"port": 8000}]}]  # a rule without `from` is for everybody


def test_a_probe_waits_longer_than_the_code_takes_for_an_answer() -> None:
    spec = pod()
    assert all(
        each[probe]["timeoutSeconds"] > max(CHECK_SECONDS, 3)  # the gateway's time limit for the service
        for each in (container(spec, "service"), container(spec, "gateway"))
        for probe in ("readinessProbe", "livenessProbe")
    )
    startup = container(spec, "service")["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= START_SECONDS
    alive = container(spec, "service")["livenessProbe"]
    assert alive["periodSeconds"] * alive["failureThreshold"] > STOP_SECONDS  # never in the middle of a stop


def test_the_gateway_stops_first_and_both_have_the_time_they_need() -> None:
    spec = pod()
    assert [each["name"] for each in spec["containers"]] == ["gateway"]
    service = container(spec, "service")
    assert service in spec["initContainers"]
    assert service["restartPolicy"] == "Always"  # a sidecar, which ends after the main containers
    assert "--gateway" not in service["args"]
    drain = container(spec, "gateway")["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = drain + gateway.STOP_SECONDS + (STOP_SECONDS - gateway.STOP_SECONDS)
    assert needed <= spec["terminationGracePeriodSeconds"] <= needed + 30


def test_pods_have_no_privilege_and_write_nowhere_else() -> None:
    for values in ("everything-hpa", "download"):
        spec = pod(values)
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec["automountServiceAccountToken"]
        uid = re.search(
            r"useradd --uid (\d+)", (PROJECT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
        )
        assert uid
        assert spec["securityContext"]["runAsUser"] == int(uid[1])
        for each in [*spec["initContainers"], *spec["containers"]]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            writable = [mount["mountPath"] for mount in each["volumeMounts"] if not mount.get("readOnly")]
            assert set(writable) <= {"/tmp", "/srv/nli/.run"} or each["name"] == "download"
        models = [mount for mount in container(spec, "service")["volumeMounts"] if mount["name"] == "models"]
        assert [mount["readOnly"] for mount in models] == [True]
    assert options(pod(), "service")["--folder"] == "/srv/nli/.run"


def test_the_image_holds_the_default_archive_and_every_path() -> None:
    dockerfile = (PROJECT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    archive = options(pod("default"), "service")["--archive"]
    assert archive == "/srv/nli/model_store/nli-1.0.mar"
    assert '"model_store/nli-1.0.mar"' in dockerfile
    assert "WORKDIR /srv/nli\n" in dockerfile
    assert options(pod("default"), "service")["--config"] == "config/production.properties"
    assert "COPY config config\n" in dockerfile


def test_a_rollout_takes_no_pod_away_before_the_next_is_ready() -> None:
    deployment = manifest(render({}), "Deployment")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in deployment  # the autoscaler's to say
    assert manifest(render(values_of("download")), "Deployment")["spec"]["replicas"] == 1
    assert deployment["progressDeadlineSeconds"] > START_SECONDS


def test_a_container_has_a_limit_of_whole_cores() -> None:
    limit = container(pod("default"), "service")["resources"]["limits"]["cpu"]
    assert math.isclose(float(limit), int(limit))


def test_the_largest_number_of_workers_is_stated() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    most = f"{MOST_WORKERS} at most"
    too_many = next(n for n in count(MOST_WORKERS) if 100 * MOST_WORKERS / n < values["autoscaling"]["cpu"])
    for file in (CHART / "values.yaml", PROJECT / "docs" / "cluster.md"):
        text = file.read_text(encoding="utf-8")
        assert most in text
        assert f"{too_many} cores or more" in text


def test_the_canary_differs_by_what_was_stated() -> None:
    manifests = render(values_of("everything-hpa"))
    stable, canary = (
        manifest(manifests, "Deployment", f"nli-korean-nli{suffix}") for suffix in ("", "-canary")
    )
    for deployment, track, archive, tag in (
        (stable, "stable", "1.0", "2.0"),
        (canary, "canary", "2.0", "2.1"),
    ):
        template = deployment["spec"]["template"]
        assert template["metadata"]["labels"]["track"] == track
        assert deployment["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        assert options(template["spec"], "service")["--archive"] == f"/models/nli-{archive}.mar"
        assert container(template["spec"], "gateway")["image"].endswith(f":{tag}")
        suffix = "-canary" if track == "canary" else ""
        service = manifest(manifests, "Service", f"nli-korean-nli{suffix}")
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        assert service["spec"]["selector"]["track"] == track
    rules = manifest(manifests, "HTTPRoute")["spec"]["rules"]
    backends = [(each["name"], each["port"], each["weight"]) for each in rules[0]["backendRefs"]]
    assert backends == [("nli-korean-nli", 8000, 95), ("nli-korean-nli-canary", 8000, 5)]
    assert [each["kind"] for each in render({})].count("Deployment") == 1


def test_the_documents_canary_finds_its_archive_and_gets_requests_when_it_is_ready() -> None:
    read_settings = need_package("helm_python").parse_set_string
    document = (PROJECT / "docs" / "cluster.md").read_text(encoding="utf-8").replace("\\\n", " ")
    settings: list[str] = []
    weights = []
    for command in re.findall(r"^helm upgrade .*", document, re.MULTILINE):
        words = shlex.split(command)
        settings += [value for option, value in pairwise(words) if option == "--set"]
        manifests = render(read_settings(",".join(settings)))  # --reuse-values
        stable, canary = (
            manifest(manifests, "Deployment", f"nli-korean-nli{suffix}")["spec"]["template"]["spec"]
            for suffix in ("", "-canary")
        )
        assert options(canary, "service")["--archive"] == options(pod("default"), "service")["--archive"]
        assert container(canary, "service")["image"] != container(stable, "service")["image"]
        backends = manifest(manifests, "HTTPRoute")["spec"]["rules"][0]["backendRefs"]
        weights.append([each["weight"] for each in backends])
    assert weights == [[100, 0], [95, 5]]


def test_who_names_the_client_is_stated() -> None:
    assert options(pod("default"), "gateway")["--trusted-proxy"] == "none"
    assert ip_network(options(pod(), "gateway")["--trusted-proxy"]).prefixlen == 8


# --- scaling and monitoring --------------------------------------------------------------------------------


def test_the_rules_are_those_of_the_project() -> None:
    assert (CHART / "files" / "prometheus-rules.yml").read_bytes() == (
        CONFIG / "prometheus-rules.yml"
    ).read_bytes()
    rules = yaml.safe_load((CONFIG / "prometheus-rules.yml").read_text(encoding="utf-8"))
    manifests = render(values_of("keda"))
    assert manifest(manifests, "PrometheusRule")["spec"] == rules
    endpoint = manifest(manifests, "ServiceMonitor")["spec"]["endpoints"][0]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "nli"}]
    service = manifest(manifests, "Service", "nli-korean-nli-metrics")
    selector = manifest(manifests, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= service["metadata"]["labels"].items()
    assert service["spec"]["publishNotReadyAddresses"]


def test_scalers_ask_for_a_recorded_figure() -> None:
    records = re.findall(r"- record: (\S+)", (CONFIG / "prometheus-rules.yml").read_text(encoding="utf-8"))
    keda = manifest(render(values_of("keda")), "ScaledObject")["spec"]
    query = keda["triggers"][0]["metadata"]["query"]
    assert "nli:queue_seconds:scaling_1m" in records
    tried = (PROJECT / "tests" / "unit" / "config" / "rules" / "scaling.yml").read_text(encoding="utf-8")
    assert f"expr: '{query}'" in tried  # which of the pods there it finds
    assert keda["scaleTargetRef"]["name"] == "nli-korean-nli"
    metrics = manifest(render(values_of("everything-hpa")), "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metrics[0]["containerResource"]["container"] == "service"
    assert metrics[1]["pods"]["target"] == {"type": "AverageValue", "averageValue": "200m"}
    assert len(manifest(render({}), "HorizontalPodAutoscaler")["spec"]["metrics"]) == 1


# --- the download ------------------------------------------------------------------------------------------


class Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Write nothing."""


@pytest.mark.parametrize("intact", [True, False])
def test_an_archive_is_kept_only_if_it_is_the_right_one(intact: bool, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "source").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "source" / "nli-3.0.mar").write_bytes(content if intact else content[:-1])
    found = container(pod("download"), "download")
    archive = tmp_path / "models" / "nli-3.0.mar"
    assert {each["name"] for each in found["env"]} == {"URL", "SHA256", "ARCHIVE"}
    assert found["env"][2]["value"] == options(pod("download"), "service")["--archive"]
    with HTTPServer(("127.0.0.1", 0), partial(Files, directory=str(tmp_path / "source"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {
            "URL": f"http://127.0.0.1:{server.server_port}/nli-3.0.mar",
            "SHA256": hashlib.sha256(content).hexdigest(),
            "ARCHIVE": str(archive),
            "no_proxy": "127.0.0.1",
        }
        done = subprocess.run(
            [sys.executable, *found["command"][1:]],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        server.shutdown()
    assert (done.returncode == 0) == intact, done.stderr
    assert [each.name for each in archive.parent.iterdir()] == (["nli-3.0.mar"] if intact else [])
    if intact:
        assert archive.read_bytes() == content
    else:
        assert "has the SHA-256" in done.stderr
