"""The request log: a line of JSON for each request, with counts and times and never a text.

Lines leave the worker as its log does, over stdout to TorchServe, whose log4j writes those of all workers
into one file and bounds its size (`config/log4j2.xml`).
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence

from handler.record import BatchRecord

logger = logging.getLogger(__name__)

MARK = "REQUEST "
"""What log4j knows a line by; it isn't written."""


def log_requests(batches: Sequence[BatchRecord], version: str) -> None:
    """Log the requests of batches; all those of a batch took its time.

    Args:
        batches: what was answered together.
        version: of the model.
    """
    lines = [
        MARK
        + json.dumps(
            {
                "time": batch.answered.isoformat(timespec="milliseconds"),
                "request_id": request.id,
                "version": version,
                "status": request.status,
                "error": None if request.error == "none" else request.error,
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
