"""The repository speaks of itself alone and in the field's words."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from scripts import PROJECT

OWN = str(Path(__file__).relative_to(PROJECT))
REGISTRIES = r"pypi[.]org|python[h]osted|deb[.]debian[.]org|registry[.]npmjs"
MACHINE = r"(?<![\w.~-])/(work|opt/pypi\w*|opt/wheels|root)/"

REPLACED = {
    r"(lies|model) in the box": "ships with",
    r"in company the": "when batched with other requests",
    r"tell the truth where": "say what is so",
    r"none of its business": "tokens of other pairs, which the mask hides",
    r"wished for": "asked for",
    r"whoever shares": "answers do not depend on the rest of the batch",
    r"to who (asks|has)": "to clients that ask",
    r"beats what": "overrides",
    r"[vV]erdict": "prediction",
    r"[cC]ontestant": "target",
    r"[cC]ls_?[fF]irst|\bfirsts\b": "cls_positions",
}
"""Expressions that a reader has to read twice, and what to say."""


def texts() -> dict[str, str]:
    """The content of every text file of the repository, by path."""
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=PROJECT, text=True)
    files = {name: PROJECT / name for name in listed.split("\0") if name}
    found = {}
    for name, file in files.items():
        if file.is_file() and file.suffix not in {".gz", ".png", ".safetensors", ".svg"}:
            found[name] = file.read_text(encoding="utf-8")
    return found


@pytest.mark.parametrize("pattern", [REGISTRIES, MACHINE])
def test_no_file_names_a_registry_or_a_folder_of_the_machine(pattern: str) -> None:
    found = [f"{name}: {hit[0]}" for name, text in texts().items() for hit in re.finditer(pattern, text)]
    assert found == []


@pytest.mark.parametrize("pattern", REPLACED)
def test_code_and_documents_use_the_words_of_the_field(pattern: str) -> None:
    expression = re.compile(pattern.replace(" ", r"\s+"))
    found = [
        f"{name}: {hit[0]!r}, rather: {REPLACED[pattern]}"
        for name, text in texts().items()
        if re.search(r"\.(py|ya?ml|properties)$|^(docs/.*|README|CHANGELOG)\.md$", name) and name != OWN
        for hit in expression.finditer(text)
    ]
    assert found == []
