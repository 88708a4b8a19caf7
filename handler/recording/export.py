"""Where records go: metrics for Prometheus, and the request log.

The metrics are declared in `config/metrics.yaml` and explained in `docs/metrics.md`. Each
measurement is a line on the worker's stdout, as is each line of the log, so batches are summed up first.
TorchServe's log4j puts the lines of all workers into one file and bounds its size (`config/log4j2.xml`).
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from handler.answer import ModelIdentity
from handler.recording import ANSWERED, BatchRecord

logger = logging.getLogger(__name__)

MARK = "REQUEST "
"""Prefix by which log4j recognises a line of the request log; log4j does not write it."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name and how it behaves."""

    name: str
    kind: Literal["counter", "histogram"]
    unit: str
    labels: tuple[str, ...] = ()
    """Names of its own labels; those of the model come before them."""


REQUESTS = Metric("nli_requests_total", "counter", "count", ("outcome", "error"))
PAIRS = Metric("nli_pairs_total", "counter", "count", ("outcome", "error"))
PREDICTIONS = Metric("nli_predictions_total", "counter", "count", ("label",))
TOKENS = Metric("nli_tokens_total", "counter", "count")
PADDING = Metric("nli_padding_tokens_total", "counter", "count")
TRUNCATED = Metric("nli_truncated_pairs_total", "counter", "count")
BATCH = Metric("nli_batch_requests", "histogram", "count")
INFER = Metric("nli_infer_seconds", "histogram", "s")
HANDLER = Metric("nli_handler_seconds", "histogram", "s")
HEARTBEATS = Metric("nli_worker_heartbeats_total", "counter", "count")

METRICS = (REQUESTS, PAIRS, PREDICTIONS, TOKENS, PADDING, TRUNCATED, BATCH, INFER, HANDLER, HEARTBEATS)

Measurement = tuple[Metric, tuple[str, ...], float]
"""A metric, the values of its own labels, and what to count or observe."""


class Exporter:
    """Counts and logs what one worker answers."""

    def __init__(
        self,
        identity: ModelIdentity,
        weights: str,
        find: Callable[[Metric, list[str]], Any],
        lines: logging.Handler,
        request_log: bool,
    ) -> None:
        """Prepare the export; nothing is written yet.

        Args:
            identity: the model's name and version in TorchServe.
            weights: which weights answer (`Checkpoint.identity`).
            find: TorchServe's own object for a metric with labels of these names.
            lines: receives a line for each measurement, and writes them when it is flushed.
            request_log: whether each request is logged.
        """
        self._identity = identity
        self._weights = weights
        self._find = find
        self._lines = lines
        self._request_log = request_log

    def record(self, batches: Sequence[BatchRecord]) -> None:
        """Count and log batches."""
        for measurement in measure(batches):
            self._count(measurement)
        self._lines.flush()
        if self._request_log:
            log_requests(batches, self._identity.version, self._weights)

    def beat(self) -> None:
        """Send a heartbeat."""
        self._count((HEARTBEATS, (), 1))
        self._lines.flush()

    def _count(self, measurement: Measurement) -> None:
        metric, labels, value = measurement
        target = self._find(metric, ["version", "model", *metric.labels, "ModelName", "Level"])
        own = [self._identity.version, self._weights, *labels]
        target.add_or_update(value, [*own, self._identity.endpoint, "Model"])


def measure(batches: Sequence[BatchRecord]) -> Iterator[Measurement]:
    """The measurements of batches: counts summed over all, zeros left out, and each batch's times."""
    counts: Counter[tuple[Metric, tuple[str, ...]]] = Counter()
    for batch in batches:
        for request in batch.requests:
            counts[REQUESTS, (request.outcome, request.error)] += 1
            counts[PAIRS, (request.outcome, request.error)] += request.pairs
            counts[TRUNCATED, ()] += request.truncated
            if request.outcome == ANSWERED:  # explanations are of pairs that were predicted before
                counts.update((PREDICTIONS, (label,)) for label in request.labels)
        counts[TOKENS, ()] += batch.tokens
        counts[PADDING, ()] += batch.padding
    yield from ((metric, labels, count) for (metric, labels), count in counts.items() if count)
    for batch in batches:
        if batch.requests:
            yield BATCH, (), len(batch.requests)
            if batch.tokens:
                yield INFER, (), batch.infer_seconds
            yield HANDLER, (), batch.handler_seconds


def log_requests(batches: Sequence[BatchRecord], version: str, model: str) -> None:
    """Write a line of JSON for each request, with counts and times and never a text.

    Args:
        batches: what was answered together; all requests of a batch took its time.
        version: TorchServe's, of the model.
        model: which weights answered (`Checkpoint.identity`).
    """
    lines = [
        MARK
        + json.dumps(
            {
                "time": batch.answered.isoformat(timespec="milliseconds"),
                "request_id": request.id,
                "version": version,
                "model": model,
                "status": request.status,
                "error": None if request.error == "none" else request.error,
                "explained": request.explained,
                "pairs": request.pairs,
                "tokens": request.tokens,
                "truncated": request.truncated,
                "labels": dict(Counter(request.labels)),
                "ms": round(1000 * batch.handler_seconds, 3),
                "batch": len(batch.requests),
            }
        )
        for batch in batches
        for request in batch.requests
    ]
    if lines:
        logger.info("\n".join(lines))
