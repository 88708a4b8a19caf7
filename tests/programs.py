"""System programs that some tests need, such as nginx and chromium."""

from __future__ import annotations

import os
import shutil

import pytest


def need(program: str) -> str:
    """The path of a program; without it the test is skipped or, where all must be there (CI), fails."""
    path = shutil.which(program, path=os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin")
    if path:
        return path
    missing = f"{program} isn't installed (apt-get install {program})"
    if os.environ.get("REQUIRE_SYSTEM_PROGRAMS"):
        pytest.fail(missing)
    pytest.skip(missing)
