"""A service from start to stop: TorchServe, readiness and, where wanted, the gateway."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from handler.errors import ConfigurationError
from scripts.torchserve.draining import drain
from scripts.torchserve.gateway import Gateway
from scripts.torchserve.management import Management
from scripts.torchserve.readiness import Readiness
from scripts.torchserve.saved_state import Registered, describe_start
from scripts.torchserve.server import ArchiveName, TorchServe
from scripts.torchserve.sizing import suitable_workers


def serve(
    server: TorchServe,
    announce: Callable[[], None],
    gateway: Gateway | None = None,
    notice_seconds: float = 0,
) -> None:
    """Run `server`, and `gateway` before it, until SIGINT or SIGTERM, or until one ends by itself.

    Asked to stop, it says so at once to who asks for readiness, goes on for `notice_seconds`, takes nothing
    new, answers what it has, and ends; asked again, it ends at once.

    Raises:
        ConfigurationError: it couldn't start, or it ended unasked.
    """
    asked = threading.Event()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        asked.set()
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    model = ArchiveName.of(server.archives[0]).model
    readiness = Readiness(Management(server.management_url, model, server.key_file), server.ports.readiness)
    ready = False
    try:
        if gateway:
            gateway.start()  # first, so that a missing nginx is told at once
        server.start()
        readiness.start()
        server.wait_until_ready(progress=_show_progress)
        ready = True
        print("\r", end="")
        announce()
        while server.is_running() and (gateway is None or gateway.is_running()):
            asked.wait(0.5)
        raise ConfigurationError(f"the service ended unasked; see {server.logs}")
    except KeyboardInterrupt:
        print("\nstopping ...", flush=True)
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            readiness.announce_stop()
            if ready and server.is_running():
                time.sleep(notice_seconds)
                if gateway:
                    gateway.stop()
                drain(server, lambda line: print(line, flush=True))
        for number in previous:
            signal.signal(number, signal.SIG_IGN)  # a third Ctrl-C must not leave a half-stopped server
        if gateway:
            gateway.stop()
        server.stop()
        readiness.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Hold a folder for one service at a time; a killed one lets go of it.

    Raises:
        ConfigurationError: another one holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"a service runs in {folder} already; give this one another --folder"
            ) from None
        yield


@dataclass(frozen=True, slots=True)
class Plan:
    """What a start is to bring."""

    archives: Sequence[Path]
    workers: int | None
    """Of each version; None where `settings` brings them back."""
    settings: dict[str, str]
    started_with: dict[str, Any]
    """What the next start compares itself with."""


def plan(
    asked: Sequence[Path] | None, workers: int | None, last: Registered | None, shipped: bool = False
) -> Plan:
    """Decide what to serve, after `last`.

    The archives of the last start, or None where there was one, bring back what was registered in the end,
    all as it was; if another number of workers is asked for, each version gets that many. Other archives are
    a new beginning, with as many workers as suit the first of them unless told otherwise.

    Args:
        asked: the archives to serve; None, only after a last start, for what that one served.
        workers: of each version, or None for what suits the machine.
        last: what the last start registered, or None where there was none.
        shipped: whether nobody chose the model, so that `asked` is the shipped one.

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


def _show_progress(seconds: float) -> None:
    if sys.stdout.isatty():
        print(f"\rstarting ... {seconds:.0f} s ", end="", flush=True)
