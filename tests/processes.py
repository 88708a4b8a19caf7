"""Processes that stand still while a test arranges what they will find."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def suspended(*pids: int) -> Iterator[None]:
    """Stop processes, and let those that are still alive go on at the end."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def new_process(pids: Callable[[], Collection[int]], known: Collection[int] = ()) -> int:
    """Wait until `pids` has one that isn't `known`."""
    deadline = time.monotonic() + 120
    while not (found := set(pids()) - set(known)):
        assert time.monotonic() < deadline, "no process has started"
        time.sleep(0.01)
    return found.pop()
