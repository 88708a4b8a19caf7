"""Verbs run in the test's own process, which saves a start of Python and of PyTorch."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess

from scripts.command_line.arguments import run


def call(main: Callable[[], int], *arguments: str | Path) -> CompletedProcess[str]:
    """The exit code of a verb's `main` with these arguments, and what it printed."""
    out, errors = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = [f"{main.__module__.rpartition('.')[2]}.py", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(errors):
            code = run(main)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.argv = before
    return CompletedProcess(sys.argv, code, out.getvalue(), errors.getvalue())
