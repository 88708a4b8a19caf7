"""Waiting for a version of a model: until all its workers answer, and until none of them has work.

Both can be seen from outside. A question to a version's workers waits in the same queue as requests do, a
worker does one thing at a time, and its answer says which worker it is and how many requests it has taken.
So a worker that answers works, and has finished what it did before. When every worker has answered twice,
a while apart, with the same number, and the queue is empty, then nothing runs, waits or comes any more.
"""

from __future__ import annotations

import time

from scripts.torchserve.management import Management, OperationError, Version

QUIET_SECONDS = 1.0
"""How long nothing must have come before a version counts as quiet: far longer than the frontend takes
from choosing a version for a request to queueing it."""


def check_ready(management: Management, version: Version, seconds: float) -> tuple[str, ...]:
    """Check that a version has all its workers and that each answers; returns its labels.

    Raises:
        OperationError: a worker is missing, or doesn't answer within `seconds`.
    """
    states = [worker.status for worker in version.workers]
    if not version.wanted or len(states) < version.wanted or set(states) != {"READY"}:
        raise OperationError(
            f"version {version.version} is not ready: {version.wanted} workers are wanted, "
            f"there are {', '.join(states) or 'none'}"
        )
    return _ask_all(management, version.version, time.monotonic() + seconds)[1]


def wait_until_ready(management: Management, version: str, seconds: float) -> tuple[str, ...]:
    """Wait until a version has all its workers and each has answered; returns its labels.

    Raises:
        OperationError: it isn't registered, or not ready within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        state = management.version(version)
        try:
            return check_ready(management, state, time_left(deadline))
        except OperationError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def wait_until_quiet(
    management: Management, version: str, seconds: float, quiet_seconds: float = QUIET_SECONDS
) -> None:
    """Wait until nothing waits for a version, none of its workers is busy and no request comes.

    Raises:
        OperationError: not within `seconds`.
    """
    deadline = time.monotonic() + seconds
    before: dict[int, int] | None = None
    since = 0.0
    while True:
        began = time.monotonic()
        try:
            taken, _ = _ask_all(management, version, deadline)
            state = management.version(version)
        except OperationError as error:
            if time.monotonic() < deadline:
                raise
            raise OperationError(f"version {version} is busy even after {seconds:.0f} s: {error}") from None
        if taken != before or state.queued or state.ready != taken.keys():
            before, since = taken, time.monotonic()
        elif began - since >= quiet_seconds:
            return
        if time.monotonic() > deadline:
            raise OperationError(
                f"version {version} is busy even after {seconds:.0f} s ({state.queued} requests wait); "
                "do clients name this version in their URL?"
            )
        time.sleep(0.1)


def time_left(deadline: float) -> float:
    """Seconds until `deadline` on the monotonic clock, and a tenth at least."""
    return max(0.1, deadline - time.monotonic())


def _ask_all(management: Management, version: str, deadline: float) -> tuple[dict[int, int], tuple[str, ...]]:
    """Ask until each worker that is ready has answered; returns requests taken by pid, and the labels.

    Free workers take turns, so this needs little more than one question a worker.
    """
    taken: dict[int, int] = {}
    labels: tuple[str, ...] = ()
    while True:
        missing = management.version(version).ready - taken.keys()
        if not missing:
            return taken, labels
        if time.monotonic() > deadline:
            raise OperationError(f"{len(missing)} workers of version {version} don't answer")
        report = management.ask_worker(version, time_left(deadline))
        labels = report.labels
        if report.pid in taken:
            time.sleep(0.05)  # the others are busy
        taken[report.pid] = report.requests
