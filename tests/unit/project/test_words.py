"""The repository speaks of itself alone: no address of the machine or the registries it was made with."""

from __future__ import annotations

import re
import subprocess

import pytest

from scripts import PROJECT

REGISTRIES = r"pypi[.]org|python[h]osted|deb[.]debian[.]org|registry[.]npmjs"
MACHINE = r"(?<![\w.~-])/(work|opt/pypi\w*|opt/wheels|root)/"


def texts() -> dict[str, str]:
    """The content of every text file of the repository, by path."""
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=PROJECT, text=True)
    files = {name: PROJECT / name for name in listed.split("\0") if name}
    found = {}
    for name, file in files.items():
        if file.is_file() and file.suffix not in {".png", ".safetensors", ".svg"}:
            found[name] = file.read_text(encoding="utf-8")
    return found


@pytest.mark.parametrize("pattern", [REGISTRIES, MACHINE])
def test_no_file_names_a_registry_or_a_folder_of_the_machine(pattern: str) -> None:
    found = [f"{name}: {hit[0]}" for name, text in texts().items() for hit in re.finditer(pattern, text)]
    assert found == []
