"""The processes of a server: finding them, also those that an earlier run has left, and ending them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import psutil

FRONTEND = "org.pytorch.serve.ModelServer"
"""Class name on the command line of the Java process."""


def leftovers(folder: Path) -> list[psutil.Process]:
    """Frontend, launcher and workers of a server in `folder` that still run."""
    own = (str(folder / "config.properties"), str(folder / "tmp") + os.sep)
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid()
        and any(own[0] == part or part.startswith(own[1]) for part in command_line(process))
        and any(
            FRONTEND in part or part.startswith("ts.") or "model_service" in part
            for part in command_line(process)
        )
    ]


def end(processes: Sequence[psutil.Process]) -> None:
    """Kill those of `processes` that still run, and wait until they are gone."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=5)


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
