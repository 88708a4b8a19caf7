"""What the standard library has only since a newer Python is refused by the type check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scripts import PROJECT


def test_a_function_of_a_newer_standard_library_is_refused(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("from itertools import batched, chain\n\nprint(batched, chain)\n", encoding="utf-8")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        PROJECT / "pyproject.toml",
        planted,
    ]
    checked = subprocess.run(
        [*command, "--cache-dir", tmp_path / "cache"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert checked.returncode == 1, checked.stderr
    assert 'has no attribute "batched"' in checked.stdout
    assert "Found 1 error" in checked.stdout
