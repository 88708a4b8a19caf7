"""An actor starts without a module of the project's own handler, so that it can take the archive's."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_actor_imports_no_module_of_the_handler() -> None:
    code = (
        "import sys, scripts.bulk.actor; print([name for name in sys.modules if name.startswith('handler.')])"
    )
    imported = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    assert imported == "[]\n"
