"""A service from start to stop: TorchServe, readiness and, where wanted, the gateway."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from handler.errors import ConfigurationError
from scripts.torchserve import gateway as gateways
from scripts.torchserve import server as servers
from scripts.torchserve.archives import ArchiveName
from scripts.torchserve.draining import DRAIN_SECONDS, FLUSH_SECONDS, drain
from scripts.torchserve.gateway import Gateway
from scripts.torchserve.management import SECONDS as CALL_SECONDS
from scripts.torchserve.management import Management
from scripts.torchserve.processes import KILL_SECONDS
from scripts.torchserve.readiness import Readiness
from scripts.torchserve.saved_state import SavedState, describe_start
from scripts.torchserve.server import StartError, TorchServe
from scripts.torchserve.sizing import suitable_workers

STOP_SECONDS = (
    gateways.STOP_SECONDS
    + (DRAIN_SECONDS + CALL_SECONDS + FLUSH_SECONDS)
    + (servers.STOP_SECONDS + 3 * KILL_SECONDS)
)
"""Longest time from a stop signal to the end, after the drain delay: gateway, requests, TorchServe."""


class StopSignals:
    """SIGINT and SIGTERM, raised as KeyboardInterrupt; `asked` is set once one has come."""

    def __init__(self) -> None:
        """Take over both signals."""
        self.asked = threading.Event()
        self._held = False
        numbers = (signal.SIGINT, signal.SIGTERM)
        self._previous = {number: signal.signal(number, self._ask) for number in numbers}

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold signals back until the end, so that a started process is known before anything is raised."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.asked.is_set():
            raise KeyboardInterrupt

    def ignore(self) -> None:
        """Ignore further signals, which must not leave a service half stopped."""
        for number in self._previous:
            signal.signal(number, signal.SIG_IGN)

    def restore(self) -> None:
        """Give the signals back to those who had them."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked.set()
        if not self._held:
            raise KeyboardInterrupt


def serve(
    server: TorchServe,
    announce: Callable[[], None],
    gateway: Gateway | None = None,
    drain_delay: float = 0,
) -> None:
    """Run `server`, and `gateway` before it, until SIGINT or SIGTERM, or until one of them ends by itself.

    After a signal `/ready` answers 503 at once. After `drain_delay` seconds the gateway answers the requests
    it has and ends, then TorchServe does. A second signal ends both at once.

    Raises:
        ConfigurationError: a port is taken, an archive is broken, or nginx can't start.
        StartError: TorchServe didn't become ready, or ended without being asked to.
    """
    model = ArchiveName.of(server.archives[0]).model
    readiness = Readiness(
        Management(server.management_url, model), server.ports.readiness, server.ports.readiness_host
    )
    signals = StopSignals()
    try:
        if gateway:
            gateway.start()  # first, so that a missing nginx is reported at once
        print("starting ...", flush=True)
        with signals.held():
            server.start()
        readiness.start()
        server.wait_until_ready()
        readiness.has_been_ready = True
        announce()
        while server.is_running() and (gateway is None or gateway.is_running()):
            signals.asked.wait(0.5)
        raise StartError(f"the service ended unasked; see {server.logs}")
    except KeyboardInterrupt:
        print("\nstopping ...", flush=True)
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            readiness.announce_drain()
            if readiness.has_been_ready and server.is_running():
                time.sleep(drain_delay)
                if gateway:
                    gateway.stop()
                drain(server.management_url, lambda line: print(line, flush=True))
        signals.ignore()
        if gateway:
            gateway.stop()
        server.stop()
        readiness.stop()
        signals.restore()


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Hold a folder for one service at a time; it is free again when the service has ended, however.

    Raises:
        ConfigurationError: another service holds the folder, or it can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise ConfigurationError(
            f"{folder} can't be written ({error.strerror}); give another one with --folder"
        ) from None
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"a service runs in {folder} already; give this one another --folder"
            ) from None
        yield


@dataclass(frozen=True, slots=True)
class Plan:
    """The archives, workers and settings of a start."""

    archives: Sequence[Path]
    workers: int | None
    """Number of workers of each version; None where `settings` brings it back."""
    settings: dict[str, str]
    started_with: dict[str, Any]
    """Description of this start, with which the next one compares itself."""


def plan(
    asked: Sequence[Path] | None, workers: int | None, last: SavedState | None, shipped: bool = False
) -> Plan:
    """Decide what to serve, given the state that the last start has left.

    The same archives as in the last start, or None, bring back all that was registered in the end; if another
    number of workers is asked for, each version gets that many. Other archives start anew, with the number of
    workers that suits the first of them unless one is given.

    Args:
        asked: the archives to serve; None, only with a saved state, for what was served last.
        workers: the number of workers of each version, or None for what suits the machine.
        last: the saved state, or None where there is none.
        shipped: whether no model was asked for, so that `asked` is the shipped one.

    Raises:
        ConfigurationError: an archive is missing or broken.
    """
    if asked is None:
        assert last is not None
        archives: Sequence[Path] = []
        started_with = last.started_with | {"workers": workers or last.started_with["workers"]}
    else:
        archives = asked
        started_with = describe_start(archives, workers, shipped)
    if last is not None and last.started_with["archives"] == started_with["archives"]:
        archives = last.archives()
        if last.started_with == started_with:
            return Plan(archives, None, last.settings(), started_with)
    return Plan(archives, workers or suitable_workers(archives[0]), {}, started_with)
