"""Prometheus' own checks of what is shipped for it: configuration, rules, and when each alert fires."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts import PROJECT
from tests.programs import need

RULES = PROJECT / "config" / "prometheus-rules.yml"


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "config/prometheus.yml"),
        ("check", "rules", "config/prometheus-rules.yml"),
        ("test", "rules", "tests/unit/config/rules/alerts.yml", "tests/unit/config/rules/drift.yml"),
        ("test", "rules", "tests/unit/config/rules/scaling.yml"),
    ],
    ids=lambda arguments: " ".join(arguments[:3]),
)
def test_promtool_accepts_it(arguments: tuple[str, ...]) -> None:
    # promtool comes with Debian's package `prometheus`
    need("prometheus")
    done = subprocess.run(
        [need("promtool"), *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tried_by_the_rule_tests() -> None:
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    tried = "".join(file.read_text(encoding="utf-8") for file in (Path(__file__).parent / "rules").iterdir())
    assert {alert for alert in alerts if f'alertname="{alert}", alertstate="firing"' in tried} == alerts
    assert "alertname: NoWorkerReady, exp_alerts: [{ exp_labels" in tried


def test_metrics_that_other_servers_have_too_are_asked_of_this_job_alone() -> None:
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    board = json.loads((PROJECT / "config" / "grafana" / "korean-nli.json").read_text(encoding="utf-8"))
    queries = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    queries += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries += [each["expr"] for each in board["annotations"]["list"]]
    asked = re.findall(r"\b(?:ts_\w+|Requests5XX|ALERTS|up)\b(.{12})", "\n".join(queries))
    assert set(asked) == {'{job="nli"}[', '{job="nli"})', '{job="nli", '}
