"""The processes of a server: finding them, also those that an earlier run has left, and ending them."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import psutil

from handler.errors import ServiceError

KILL_SECONDS = 5
"""Time limit for processes that have been told to end, and for those that have been killed."""

FRONTEND = "org.pytorch.serve.ModelServer"
"""Class name on the command line of the Java process."""

WORKER = "model_service_worker.py"
"""File name on the command line of a worker."""


class StartError(ServiceError):
    """TorchServe didn't become ready, or it or nginx ended without being asked to."""


class Running(ABC):
    """Something that runs from `start` to `stop`; as a context, whatever fails, nothing is left running."""

    @abstractmethod
    def start(self) -> None:
        """Start it."""

    @abstractmethod
    def stop(self) -> None:
        """End it; safe to call again."""

    def wait_until_ready(self) -> None:  # noqa: B027
        """Wait until it can be used, where `start` doesn't."""

    def __enter__(self) -> Self:
        """Start and wait."""
        try:
            self.start()
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()


def leftovers(folder: Path) -> list[psutil.Process]:
    """Frontend, launcher and workers of a server in `folder` that still run."""
    settings, scratch = str(folder / "config.properties"), str(folder / "tmp") + os.sep
    found = []
    for process in psutil.process_iter():
        parts = command_line(process)
        is_own = any(each == settings or each.startswith(scratch) for each in parts)
        if is_own and any(FRONTEND in each or WORKER in each or each.startswith("ts.") for each in parts):
            found.append(process)
    return found


def end(processes: Sequence[psutil.Process], patience: float = 0) -> None:
    """Kill those of `processes` that still run after `patience` seconds, and wait until they are gone."""
    _, running = psutil.wait_procs(processes, timeout=patience)
    for process in running:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(running, timeout=KILL_SECONDS)


def family_of(pid: int) -> list[psutil.Process]:
    """A process and all its descendants."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def command_line(process: psutil.Process) -> list[str]:
    """The arguments of a process; empty where it is gone or can't be looked at."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def workers_among(processes: Iterable[psutil.Process]) -> list[int]:
    """Process ids of those that are workers."""
    return [each.pid for each in processes if any(WORKER in part for part in command_line(each))]
