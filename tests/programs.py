"""What only some tests need: system programs such as nginx and chromium, and large packages."""

from __future__ import annotations

import importlib
import os
import shutil
from typing import Any, NoReturn

import pytest


def need(program: str) -> str:
    """The path of a program; without it the test is skipped or, where all must be there (CI), fails."""
    path = shutil.which(program, path=os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin")
    if not path:
        _missing(f"{program} isn't installed (apt-get install {program})")
    return path


def need_package(name: str) -> Any:
    """A module of the set `cluster`; without it the test is skipped, or fails, as for a program."""
    try:
        return importlib.import_module(name)
    except ImportError:
        _missing(f"{name} isn't installed (scripts/setup cluster)")


def _missing(what: str) -> NoReturn:
    if os.environ.get("REQUIRE_SYSTEM_PROGRAMS"):
        pytest.fail(what)
    pytest.skip(what)
