"""What a batch adds to the metrics and to the request log; every metric is declared as it is sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from handler.recording import ANSWERED, ERROR, EXPLAINED, PAGE, BatchRecord, RequestRecord
from handler.recording.export import MARK, METRICS, log_requests, measure
from scripts import PROJECT

DECLARED: dict[str, Any] = yaml.safe_load((PROJECT / "config" / "metrics.yaml").read_text(encoding="utf-8"))


def batch(*requests: RequestRecord, tokens: int = 0, padding: int = 0) -> BatchRecord:
    return BatchRecord(requests, datetime.now(UTC), 0.5, 1.0, tokens, padding)


def measured(record: BatchRecord) -> dict[tuple[str, tuple[str, ...]], float]:
    sent = list(measure([record]))
    named = {(metric.name, labels): value for metric, labels, value in sent}
    assert len(named) == len(sent), "one line each"
    return named


def test_requests_of_a_batch_are_summed_up() -> None:
    record = batch(
        RequestRecord("a", ANSWERED, pairs=3, tokens=30, truncated=1, labels=("neutral", "neutral", "x")),
        RequestRecord("b", ANSWERED, pairs=1, tokens=9, labels=("neutral",)),
        RequestRecord("c", ERROR, 400, "invalid_pair"),
        RequestRecord("d", ERROR, 500, "inference_failed", pairs=2, tokens=8, truncated=1),
        RequestRecord("e", PAGE),
        tokens=40,
        padding=5,
    )
    assert measured(record) == {
        ("nli_requests_total", (ANSWERED, "none")): 2,
        ("nli_requests_total", (ERROR, "invalid_pair")): 1,
        ("nli_requests_total", (ERROR, "inference_failed")): 1,
        ("nli_requests_total", (PAGE, "none")): 1,
        ("nli_pairs_total", (ANSWERED, "none")): 4,
        ("nli_pairs_total", (ERROR, "inference_failed")): 2,
        ("nli_predictions_total", ("neutral",)): 3,
        ("nli_predictions_total", ("x",)): 1,
        ("nli_tokens_total", ()): 40,
        ("nli_padding_tokens_total", ()): 5,
        ("nli_truncated_pairs_total", ()): 2,
        ("nli_batch_requests", ()): 5,
        ("nli_infer_seconds", ()): 0.5,
        ("nli_handler_seconds", ()): 1.0,
    }


def test_explanations_are_counted_apart_and_are_no_predictions() -> None:
    record = batch(RequestRecord("a", EXPLAINED, pairs=2, tokens=90, labels=("x", "y")), tokens=90)
    counted = measured(record)
    assert counted["nli_requests_total", (EXPLAINED, "none")] == 1
    assert counted["nli_pairs_total", (EXPLAINED, "none")] == 2
    assert counted["nli_tokens_total", ()] == 90
    assert not [name for name, _ in counted if name == "nli_predictions_total"]


def test_counts_are_summed_over_batches_and_times_are_not() -> None:
    one = batch(RequestRecord("a", ANSWERED, pairs=1, tokens=9, labels=("x",)), tokens=9, padding=3)
    sent = [(metric.name, labels, value) for metric, labels, value in measure([one, one])]
    assert sent == [
        ("nli_requests_total", (ANSWERED, "none"), 2),
        ("nli_pairs_total", (ANSWERED, "none"), 2),
        ("nli_predictions_total", ("x",), 2),
        ("nli_tokens_total", (), 18),
        ("nli_padding_tokens_total", (), 6),
        *[
            ("nli_batch_requests", (), 1),
            ("nli_infer_seconds", (), 0.5),
            ("nli_handler_seconds", (), 1.0),
        ]
        * 2,
    ]


def test_a_batch_without_pairs_says_nothing_of_the_model() -> None:
    names = {name for name, _ in measured(batch(RequestRecord("a", PAGE)))}
    assert names == {
        "nli_requests_total",
        "nli_batch_requests",
        "nli_handler_seconds",
    }


def test_a_batch_that_only_described_the_model_isnt_counted() -> None:
    assert measured(batch()) == {}


def test_every_metric_is_declared_in_the_order_in_which_its_labels_are_sent() -> None:
    declared = {
        metric["name"]: (kind, metric["dimensions"])
        for kind in ("counter", "histogram")
        for metric in DECLARED["model_metrics"][kind]
    }
    assert declared == {
        metric.name: (metric.kind, ["version", "model", *metric.labels, "ModelName", "Level"])
        for metric in METRICS
    }


def test_each_request_is_a_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    requests = (
        RequestRecord("a-1", ANSWERED, pairs=3, tokens=30, truncated=1, labels=("x", "y", "x")),
        RequestRecord("b-2", ERROR, 413, "limit_exceeded", explained=True),
    )
    answered = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    batches = [BatchRecord(each, answered, 0.2, 0.0123456, 30, 0) for each in (requests, requests[:1])]
    with caplog.at_level("INFO", "handler.recording.export"):
        log_requests(batches, "1.0", "demo-1a2b3c4d")
    (message,) = caplog.messages
    first, second, third = message.split("\n")
    assert first.startswith(MARK)
    assert json.loads(first.removeprefix(MARK)) == {
        "time": "2026-01-02T03:04:05.000+00:00",
        "request_id": "a-1",
        "version": "1.0",
        "model": "demo-1a2b3c4d",
        "status": 200,
        "error": None,
        "explained": False,
        "pairs": 3,
        "tokens": 30,
        "truncated": 1,
        "labels": {"x": 2, "y": 1},
        "ms": 12.346,
        "batch": 2,
    }
    failed = json.loads(second.removeprefix(MARK))
    assert (failed["error"], failed["explained"]) == ("limit_exceeded", True)
    assert json.loads(third.removeprefix(MARK))["batch"] == 1


def test_nothing_is_logged_of_an_empty_batch(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "handler.recording.export"):
        log_requests([BatchRecord((), datetime.now(UTC), 0, 0, 0, 0)], "1.0", "demo-1a2b3c4d")
    assert not caplog.messages
