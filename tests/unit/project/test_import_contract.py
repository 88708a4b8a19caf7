"""The import contract in pyproject.toml holds, and each of its rules refuses a wrong arrow."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import PROJECT

LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"

WRONG = [
    ("scripts.classify", "scripts.evaluate"),  # a verb imports a verb,
    ("scripts.pairs.client", "scripts.manage"),  # a room imports a verb,
    ("scripts.pairs.client", "scripts.command_line.arguments"),  # or reads arguments
    ("scripts.pairs.client", "scripts.torchserve.ports"),
    ("scripts.pairs.client", "scripts.model.weights"),
    ("scripts.torchserve.ports", "scripts.bench.load"),
    ("scripts.torchserve.ports", "scripts.model.weights"),
    ("scripts.model.weights", "scripts.torchserve.ports"),
    ("handler.settings", "scripts.pairs.client"),
    ("handler.request", "handler.encoding"),
    ("handler.encoding", "handler.engine"),
    ("handler.engine", "handler.answer"),
    ("handler.answer", "handler.engine"),
    ("handler.answer", "handler.service"),
    ("handler.engine", "ts.context"),
    ("scripts.torchserve.ports", "ts.context"),
]
"""Importing module and imported one, of which each pair breaks a rule."""


def lint(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT], cwd=project, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    only_python = shutil.ignore_patterns("__pycache__", "*.html", "*.toml")
    for package in ("handler", "scripts"):
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=only_python)
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_project_keeps_its_contract() -> None:
    checked = lint(PROJECT)
    assert checked.returncode == 0, checked.stdout


def test_each_wrong_arrow_is_refused_even_inside_a_function(copy: Path) -> None:
    for importer, imported in WRONG:
        with (copy / importer.replace(".", "/")).with_suffix(".py").open("a", encoding="utf-8") as file:
            file.write(f"\n\ndef planted() -> None:\n    import {imported}\n")
    checked = lint(copy)
    assert checked.returncode == 1
    refused = set(re.findall(r"^- +(\S+) -> (\S+) ", checked.stdout, re.MULTILINE))
    assert {(importer, imported.replace("ts.context", "ts")) for importer, imported in WRONG} <= refused


def test_a_module_without_a_place_in_the_contract_is_refused(copy: Path) -> None:
    for name in ("scripts/ask.py", "scripts/tools/__init__.py", "handler/sampling.py"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text('"""New."""\n', encoding="utf-8")
    checked = lint(copy)
    assert checked.returncode == 1
    for name in ("scripts.ask", "scripts.tools", "handler.sampling"):
        assert name.rpartition(".")[2] in checked.stdout
