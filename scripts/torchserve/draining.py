"""Letting a server answer the requests that it has before it is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable

from scripts.torchserve.management import Management, OperationError
from scripts.torchserve.waiting import ask_all_workers

DRAIN_SECONDS = 120
"""Time limit for the requests under way: one batch may take as long as `responseTimeout` allows."""

FLUSH_SECONDS = 0.2
"""Time for the frontend to write the last answers, all of which it has received from the workers."""


def drain(management_url: str, say: Callable[[str], None], seconds: float = DRAIN_SECONDS) -> bool:
    """Wait until the requests that a server has now are answered.

    A question to a worker waits behind them in the queue. When each worker has answered one, all of them are
    done. Requests that arrive later are not waited for: the gateway, which has stopped, lets none through.

    Returns:
        Whether all were answered; if not, `say` was told why.
    """
    deadline = time.monotonic() + seconds
    try:
        for model in Management(management_url).models():
            management = Management(management_url, model)
            for version in management.versions():
                ask_all_workers(management, version.version, deadline)
    except OperationError as error:
        say(f"stopping before all requests are answered: {error}")
        return False
    time.sleep(FLUSH_SECONDS)
    return True
