"""Waiting for a version of a model: until all its workers answer, and until none of them has work.

A question to a version's workers waits in the same queue as requests, a worker does one thing at a time, and
its answer says which worker it is and how many requests it has taken. So a worker that answers works, and has
finished what it did before. When every worker has answered twice, some time apart, with the same number, and
the queue is empty, then nothing runs, waits or arrives any more.
"""

from __future__ import annotations

import time

from scripts.torchserve.management import Management, OperationError

QUIET_SECONDS = 1.0
"""Time without a request after which a version counts as quiet: far longer than the frontend takes from
choosing a version for a request to queueing it."""


def wait_until_ready(management: Management, version: str, seconds: float) -> tuple[str, ...]:
    """Wait until a version has all its workers and each has answered; returns its labels.

    Raises:
        OperationError: the version isn't registered, or not ready within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        state = management.version(version)
        if state.is_complete:
            return ask_all_workers(management, version, deadline)[1]
        if time.monotonic() > deadline:
            found = ", ".join(worker.status for worker in state.workers) or "none"
            raise OperationError(
                f"version {version} is not ready: {state.wanted} workers are wanted, there are {found}"
            )
        time.sleep(0.2)


def wait_until_quiet(management: Management, version: str, seconds: float) -> None:
    """Wait until nothing waits for a version, none of its workers is busy and no request arrives.

    Raises:
        OperationError: the version is still used after `seconds`.
    """
    deadline = time.monotonic() + seconds
    before: dict[int, int] | None = None
    since = 0.0
    while True:
        began = time.monotonic()
        try:
            taken, _ = ask_all_workers(management, version, deadline)
            state = management.version(version)
        except OperationError as error:
            if time.monotonic() < deadline:
                raise
            raise OperationError(f"version {version} is busy even after {seconds:.0f} s: {error}") from None
        if taken != before or state.queued or state.ready != taken.keys():
            before, since = taken, time.monotonic()
        elif began - since >= QUIET_SECONDS:
            return
        if time.monotonic() > deadline:
            raise OperationError(
                f"version {version} is busy even after {seconds:.0f} s ({state.queued} requests wait); "
                "do clients name this version in their URL?"
            )
        time.sleep(0.1)


def ask_all_workers(
    management: Management, version: str, deadline: float
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Ask until each worker that is ready has answered once.

    Free workers take turns, so this needs little more than one question a worker. A full queue refuses
    questions as it refuses requests; they are asked again.

    Returns:
        The number of requests taken by each process id, and the model's labels.

    Raises:
        OperationError: a worker doesn't answer before `deadline`, on the monotonic clock.
    """
    taken: dict[int, int] = {}
    labels: tuple[str, ...] = ()
    while True:
        state = management.version(version)
        missing = state.ready - taken.keys()
        if not missing and (taken or not state.queued):
            return taken, labels
        if time.monotonic() > deadline:
            silent = f"{len(missing)} workers don't answer" if missing else "no worker is ready for its queue"
            raise OperationError(f"version {version}: {silent}")
        if not missing:
            time.sleep(0.05)
            continue
        try:
            report = management.ask_worker(version, time_left(deadline))
        except OperationError as error:
            if error.status != 503:
                raise
            time.sleep(0.05)
            continue
        labels = report.labels
        if report.pid in taken:
            time.sleep(0.05)  # the others are busy
        taken[report.pid] = report.requests


def time_left(deadline: float) -> float:
    """Seconds until `deadline` on the monotonic clock, at least a tenth."""
    return max(0.1, deadline - time.monotonic())
