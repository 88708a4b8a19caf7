"""What a batch adds to the metrics, and that every metric is declared as it is sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import yaml

from handler.metrics import METRICS, measure
from handler.record import ANSWERED, ERROR, PAGE, BatchRecord, RequestRecord
from scripts import PROJECT

DECLARED: dict[str, Any] = yaml.safe_load((PROJECT / "config" / "metrics.yaml").read_text(encoding="utf-8"))


def batch(*requests: RequestRecord, tokens: int = 0, padding: int = 0) -> BatchRecord:
    return BatchRecord(requests, datetime.now(UTC), 0.25, 0.5, 1.0, tokens, padding)


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
        ("nli_tokenize_seconds", ()): 0.25,
        ("nli_infer_seconds", ()): 0.5,
        ("nli_handler_seconds", ()): 1.0,
    }


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
            ("nli_tokenize_seconds", (), 0.25),
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
        "nli_tokenize_seconds",
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
        metric.name: (metric.kind, ["version", *metric.labels, "ModelName", "Level"]) for metric in METRICS
    }
