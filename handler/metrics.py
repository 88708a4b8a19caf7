"""What is counted for Prometheus; declared in `config/metrics.yaml`, explained in `docs/metrics.md`.

Each measurement becomes a line on the worker's stdout, so a batch is summed up before it is sent.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from handler.record import BatchRecord

HEARTBEAT_SECONDS = 5
"""How often a worker says that it is there."""


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


def measure(batch: BatchRecord) -> Iterator[Measurement]:
    """What a batch adds to the metrics; zeros are left out."""
    if not batch.requests:
        return
    requests: Counter[tuple[str, str]] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    predictions: Counter[str] = Counter()
    for request in batch.requests:
        requests[request.outcome, request.error] += 1
        pairs[request.outcome, request.error] += request.pairs
        predictions.update(request.labels)
    yield from ((REQUESTS, key, count) for key, count in requests.items())
    yield from ((PAIRS, key, count) for key, count in pairs.items() if count)
    yield from ((PREDICTIONS, (label,), count) for label, count in predictions.items())
    totals = {
        TOKENS: batch.tokens,
        PADDING: batch.padding,
        TRUNCATED: sum(request.truncated for request in batch.requests),
    }
    yield from ((metric, (), count) for metric, count in totals.items() if count)
    yield BATCH, (), len(batch.requests)
    yield TOKENIZE, (), batch.tokenize_seconds
    if batch.tokens:
        yield INFER, (), batch.infer_seconds
    yield HANDLER, (), batch.handler_seconds


def start_heartbeat(send: Callable[[Measurement], None], seconds: float = HEARTBEAT_SECONDS) -> None:
    """Count a heartbeat now and every so often, for as long as the process lives.

    TorchServe has no metric that says whether a worker is ready; the rate of these does, also while nobody
    asks anything.
    """

    def beat() -> None:
        pause = threading.Event()
        while True:
            send((HEARTBEATS, (), 1))
            pause.wait(seconds)

    threading.Thread(target=beat, name="heartbeat", daemon=True).start()
