"""A server's logs: keeping those of earlier starts, and finding the reason why it doesn't start."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

KEPT = 3
"""Number of earlier starts whose logs are kept."""


def set_aside(logs: Path) -> None:
    """Move the logs of the last start to `previous-1`, those to `previous-2`, and so on; drop the oldest."""
    found = list(logs.glob("*.log"))
    if not found:
        return
    folders = [logs / f"previous-{number}" for number in range(1, KEPT + 1)]
    shutil.rmtree(folders[-1], ignore_errors=True)
    for newer, older in zip(folders[-2::-1], folders[:0:-1], strict=True):
        if newer.exists():
            newer.rename(older)
    folders[0].mkdir()
    for log in found:
        log.rename(folders[0] / log.name)


def worker_fault(logs: Path) -> str | None:
    """The reason why a worker ended while it started, from its log."""
    log = _read(logs / "model.log")
    if "Backend worker process died." not in log:
        return None
    lines = [line.split(" - ")[-1] for line in log.splitlines()]
    errors = [
        match[1] for line in lines if (match := re.search(r"((?:\w+\.)*\w*(?:Error|Exception): .*)", line))
    ]
    return errors[-1].removeprefix("handler.errors.ConfigurationError: ") if errors else None


def last_complaint(logs: Path) -> str:
    """The last thing that the server or its launcher complained about."""
    for name in ("console.log", "server.log"):
        faults = [
            line
            for line in _read(logs / name).splitlines()
            if re.search(r"Exception|Error|ERROR|error|WARN", line)
        ]
        if faults:
            return f"{faults[-1].strip()} (more in {logs})"
    return f"no reason given; see {logs}"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
