"""Finding the reason in a server's logs why it doesn't start."""

from __future__ import annotations

import re
from pathlib import Path


def worker_fault(logs: Path) -> str | None:
    """The reason why a worker ended while it started, from its log."""
    log = _read(logs / "model.log")
    if "Backend worker process died." not in log:
        return None
    lines = [line.split(" - ")[-1] for line in log.splitlines()]
    errors = [match[1] for line in lines if (match := re.search(r"((?:\w+\.)*\w*Error: .*)", line))]
    return errors[-1].removeprefix("handler.errors.ConfigurationError: ") if errors else lines[-1]


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
