"""A mixed load on a real server, seen by a real Prometheus and in the request log: the figures add up."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from handler.checkpoint import Checkpoint
from handler.recording.recorder import HEARTBEAT_SECONDS
from scripts import PROJECT
from scripts.torchserve.server import Ports, TorchServe
from tests.prometheus import Prometheus

CONFIG = PROJECT / "config"
LOG_SIZE = 40_000
"""Bytes at which a log turns over here, instead of 10 MB."""

SHORT = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
LONG = {"premise": "남자가 책을 읽는다. " * 40, "hypothesis": "여자가 책을 읽는다."}
SECRET = "남몰래한말"


@dataclass(slots=True)
class Sent:
    """What the clients saw."""

    ids: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    truncated: int = 0

    def note(self, answer: requests.Response) -> None:
        self.ids.append(answer.headers["x-request-id"])
        self.statuses[answer.status_code] += 1
        if "json" not in answer.headers["content-type"]:
            return
        body = answer.json()
        if answer.status_code != 200:
            self.errors[body["type"]] += 1
            return
        for each in body if isinstance(body, list) else [body]:
            self.labels[each["label"]] += "explanation" not in each
            self.truncated += each["truncated"]


@dataclass(slots=True)
class Observed:
    """A server after its load, and those who watched it."""

    server: TorchServe
    prometheus: Prometheus
    sent: Sent
    at: float
    """When every rate and rule had data, on Prometheus's clock."""


def numbered(count: int) -> list[dict[str, str]]:
    return [
        {"premise": f"비가 {n} 온다. {SECRET}", "hypothesis": "날씨가 " * (n % 9 + 1)} for n in range(count)
    ]


def mixed_load(url: str) -> list[dict[str, Any]]:
    """Requests of all kinds: 60 single pairs, lists of 1 to 20, pages, explanations, and clients' errors."""
    load: list[dict[str, Any]] = [{"json": pair} for pair in numbered(60)]
    load += [{"json": numbered(size)} for size in range(1, 21)]
    load += [{"json": [SHORT, LONG, SHORT, SHORT]}] * 5
    load += [{"headers": {"Accept": "text/html"}}] * 3
    load += [{"data": b"{" + SECRET.encode(), "headers": {"Content-Type": "application/json"}}] * 4
    load += [{"json": SHORT | {"premise": " "}}] * 6
    load += [{"json": [SHORT] * 65}] * 2
    load += [{"json": numbered(2), "explain": True}] * 5
    return load


@pytest.fixture(scope="module")
def observed(patient_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """Two workers, loaded, and at the end none."""
    log_config = tmp_path_factory.mktemp("log") / "log4j2.xml"
    text = (CONFIG / "log4j2.xml").read_text(encoding="utf-8")
    assert 'size="10 MB"' in text
    log_config.write_text(text.replace('size="10 MB"', f'size="{LOG_SIZE}"'), encoding="utf-8")
    ports = Ports.free()
    folder = tmp_path_factory.mktemp("prometheus")
    prometheus = Prometheus(folder, f"127.0.0.1:{ports.metrics}")
    server = TorchServe(tmp_path_factory.mktemp("ts"), [patient_archive], ports, log_config=log_config)
    with server, prometheus:
        _scale(server, 2)
        sent = Sent()
        url = f"{server.url}/predictions/nli"
        load = mixed_load(url)
        # In parts, with scrapes between: a counter that is first seen at its end has no rate.
        for part in (load[0::3], load[1::3], load[2::3]):
            with ThreadPoolExecutor(8) as pool:
                for answer in pool.map(lambda options: _ask(url, options), part):
                    sent.note(answer)
            prometheus.wait_for(f"sum(nli_requests_total) == {len(sent.ids)}", 60)
        prometheus.wait_for("nli_worker_heartbeats_total >= 2", 60)
        requests.get(f"{server.management_url}/models/nli", params={"customized": "true"}, timeout=60)
        # Without a worker TorchServe itself answers 503.
        _scale(server, 0)
        assert requests.post(url, json=SHORT, timeout=60).status_code == 503
        prometheus.wait_for("count_over_time(Requests5XX[1m]) >= 2 and Requests5XX == 1", 60)  # it has a rate
        for rule in rules("record"):
            prometheus.wait_for(f"{rule['record']} >= 0", 60)
        yield Observed(server, prometheus, sent, time.time())


def _scale(server: TorchServe, workers: int) -> None:
    query = {"min_worker": str(workers), "max_worker": str(workers), "synchronous": "true"}
    requests.put(f"{server.management_url}/models/nli", params=query, timeout=120).raise_for_status()


def _ask(url: str, options: dict[str, Any]) -> requests.Response:
    if options.get("explain"):
        url = url.replace("/predictions/", "/explanations/")
        return requests.post(url, json=options["json"], timeout=60)
    if "json" in options or "data" in options:
        return requests.post(url, timeout=60, **options)
    return requests.get(url, timeout=60, **options)


def logged(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def documented() -> dict[str, tuple[str, set[str]]]:
    """Type and labels by metric, from the table in the documentation."""
    text = (PROJECT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$", text, re.MULTILINE)
    assert all(explained.endswith(".") for *_, explained in rows)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}


def test_every_documented_metric_is_there_and_no_other(observed: Observed) -> None:
    scraped = requests.get(f"{observed.server.metrics_url}/metrics", timeout=10).text
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", scraped, re.MULTILINE))
    table = documented()
    assert kinds == {name: kind for name, (kind, _) in table.items()}
    declared = yaml.safe_load((CONFIG / "metrics.yaml").read_text(encoding="utf-8"))
    names = [
        metric["name"]
        for section in ("ts_metrics", "model_metrics")
        for metrics in declared[section].values()
        for metric in metrics
    ]
    assert sorted(names) == sorted(table)
    added = {"__name__", "ModelName", "Level", "Hostname", "hostname", "job", "instance"}
    for name, (kind, labels) in table.items():
        samples = observed.prometheus.query(f"{name}_count" if kind == "histogram" else name)
        assert samples, f"{name} has no data"
        for sample in samples:
            assert set(sample["metric"]) - added == labels, name


def test_the_figures_are_those_that_were_sent(observed: Observed, tiny_checkpoint: Path) -> None:
    sent, value = observed.sent, observed.prometheus.value
    assert sent.statuses == {200: 93, 400: 10, 413: 2}
    assert value("sum(nli_requests_total)") == 105
    assert value('nli_requests_total{outcome="explained", error="none"}') == 5
    assert value('nli_requests_total{outcome="answered", error="none"}') == 85
    assert value('nli_requests_total{outcome="page"}') == 3
    for error, count in sent.errors.items():
        assert value(f'nli_requests_total{{outcome="error", error="{error}"}}') == count
    assert sent.errors == {"invalid_request": 4, "invalid_pair": 6, "limit_exceeded": 2}
    assert value('sum(nli_pairs_total{outcome="answered"})') == 60 + 210 + 20 == sent.labels.total()
    assert value('sum(nli_pairs_total{outcome="explained"})') == 10
    identity = Checkpoint.read(tiny_checkpoint).identity
    for label, count in sent.labels.items():
        assert value(f'nli_predictions_total{{version="1.0", model="{identity}", label="{label}"}}') == count
    assert value("nli_truncated_pairs_total") == 5 == sent.truncated
    assert value("nli_batch_requests_sum") == 105
    batches = value("nli_batch_requests_count")
    assert value("nli_handler_seconds_count") == batches
    assert 0 < value("nli_infer_seconds_count") <= batches
    assert 0 < value("nli_infer_seconds_sum") < value("nli_handler_seconds_sum")
    assert value("nli_padding_tokens_total") > 0
    assert value("Requests5XX") == 1


def test_the_request_log_has_a_line_for_each_request_and_the_same_figures(observed: Observed) -> None:
    lines = logged(observed.server.logs / "requests.log")
    assert sorted(line["request_id"] for line in lines) == sorted(observed.sent.ids)
    assert Counter(line["status"] for line in lines) == observed.sent.statuses
    assert Counter(line["error"] for line in lines if line["error"]) == observed.sent.errors
    labels: Counter[str] = Counter()
    for line in lines:
        labels.update({} if line["explained"] else line["labels"])
    assert labels == observed.sent.labels
    assert sum(line["explained"] for line in lines) == 5
    assert sum(line["pairs"] for line in lines) == 300
    assert sum(line["truncated"] for line in lines) == 5
    tokens = sum(line["tokens"] for line in lines)
    # Equal pairs of a batch go through the model once.
    assert 0 < observed.prometheus.value("nli_tokens_total") <= tokens
    assert {line["version"] for line in lines} == {"1.0"}
    assert {line["model"].split("-")[0] for line in lines} == {"tiny"}
    assert all(0 < line["ms"] < 60_000 for line in lines)


def test_no_text_reaches_a_log_or_a_metric(observed: Observed) -> None:
    files = [path for path in observed.server.logs.rglob("*") if path.is_file()]
    assert len(files) >= 4
    scraped = requests.get(f"{observed.server.metrics_url}/metrics", timeout=10).content
    for content in [scraped, *(file.read_bytes() for file in files)]:
        for marker in (SECRET, json.dumps(SECRET).strip('"')):
            assert marker.encode() not in content


def dashboard_queries() -> list[tuple[str, str]]:
    board = json.loads((CONFIG / "grafana" / "korean-nli.json").read_text(encoding="utf-8"))
    return [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel["targets"]]


@pytest.mark.parametrize(("panel", "query"), dashboard_queries())
def test_a_query_of_the_dashboard_returns_data(observed: Observed, panel: str, query: str) -> None:
    query = query.replace("$__rate_interval", "1m").replace("$instance", ".*")
    samples = observed.prometheus.query(query, observed.at)
    assert samples, panel
    assert all(sample["value"][1] != "NaN" for sample in samples), panel


def rules(kind: str) -> list[dict[str, Any]]:
    """The shipped rules that `record` a figure or raise an `alert`."""
    groups = yaml.safe_load((CONFIG / "prometheus-rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


@pytest.mark.parametrize(("alert", "expression"), [(rule["alert"], rule["expr"]) for rule in rules("alert")])
def test_what_an_alert_looks_at_has_data(observed: Observed, alert: str, expression: str) -> None:
    figures = re.findall(r"nli:\w+:\w+|increase\([^)]*\)", expression)
    assert figures
    for figure in figures:
        samples = observed.prometheus.query(figure, observed.at)
        assert samples, f"{alert}: {figure}"
        assert all(sample["value"][1] != "NaN" for sample in samples), alert


def test_without_a_worker_there_is_no_heartbeat(observed: Observed) -> None:
    assert observed.prometheus.value("nli_worker_heartbeats_total") >= 2
    before = observed.prometheus.value("nli_worker_heartbeats_total")
    time.sleep(HEARTBEAT_SECONDS + 2)
    assert observed.prometheus.value("nli_worker_heartbeats_total") == before


def test_the_request_log_is_bounded(observed: Observed) -> None:
    server = observed.server
    _scale(server, 1)
    url = f"{server.url}/predictions/nli"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: requests.post(url, data=b"{", timeout=60).status_code, range(600)))
    assert set(answers) == {400}
    before = None
    while before != (before := (server.logs / "requests.log").read_bytes()):
        time.sleep(1)  # workers write their lines later
    files = sorted(server.logs.glob("requests*.log"))
    assert [file.name for file in files] == [
        "requests.1.log",
        "requests.2.log",
        "requests.3.log",
        "requests.log",
    ]
    assert all(file.stat().st_size < LOG_SIZE + 1000 for file in files)
    assert all(line["request_id"] for file in files for line in logged(file)), "no line is torn"
