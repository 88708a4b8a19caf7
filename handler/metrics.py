"""What is counted for Prometheus; declared in `config/metrics.yaml`, explained in `docs/metrics.md`.

Each measurement becomes a line on the worker's stdout, so batches are summed up before they are sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from handler.record import BatchRecord


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name and how it behaves."""

    name: str
    kind: Literal["counter", "histogram"]
    unit: str
    labels: tuple[str, ...] = ()
    """Its own labels; the model's version comes before them."""


REQUESTS = Metric("nli_requests_total", "counter", "count", ("outcome", "error"))
PAIRS = Metric("nli_pairs_total", "counter", "count", ("outcome", "error"))
PREDICTIONS = Metric("nli_predictions_total", "counter", "count", ("label",))
TOKENS = Metric("nli_tokens_total", "counter", "count")
PADDING = Metric("nli_padding_tokens_total", "counter", "count")
TRUNCATED = Metric("nli_truncated_pairs_total", "counter", "count")
BATCH = Metric("nli_batch_requests", "histogram", "count")
TOKENIZE = Metric("nli_tokenize_seconds", "histogram", "s")
INFER = Metric("nli_infer_seconds", "histogram", "s")
HANDLER = Metric("nli_handler_seconds", "histogram", "s")
HEARTBEATS = Metric("nli_worker_heartbeats_total", "counter", "count")

METRICS = (
    REQUESTS,
    PAIRS,
    PREDICTIONS,
    TOKENS,
    PADDING,
    TRUNCATED,
    BATCH,
    TOKENIZE,
    INFER,
    HANDLER,
    HEARTBEATS,
)

Measurement = tuple[Metric, tuple[str, ...], float]
"""A metric, the values of its own labels, and what to count or observe."""


def measure(batches: Sequence[BatchRecord]) -> Iterator[Measurement]:
    """What batches add to the metrics: counts summed over all, zeros left out, and each batch's times."""
    counts: Counter[tuple[Metric, tuple[str, ...]]] = Counter()
    for batch in batches:
        for request in batch.requests:
            counts[REQUESTS, (request.outcome, request.error)] += 1
            counts[PAIRS, (request.outcome, request.error)] += request.pairs
            counts[TRUNCATED, ()] += request.truncated
            counts.update((PREDICTIONS, (label,)) for label in request.labels)
        counts[TOKENS, ()] += batch.tokens
        counts[PADDING, ()] += batch.padding
    yield from ((metric, labels, count) for (metric, labels), count in counts.items() if count)
    for batch in batches:
        if batch.requests:
            yield BATCH, (), len(batch.requests)
            yield TOKENIZE, (), batch.tokenize_seconds
            if batch.tokens:
                yield INFER, (), batch.infer_seconds
            yield HANDLER, (), batch.handler_seconds
