"""The import contract in pyproject.toml holds, and each of its rules refuses a wrong arrow."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import PROJECT

LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


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


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        pytest.param("scripts/classify.py", "scripts.evaluate", id="a verb imports a verb"),
        pytest.param("scripts/pairs/client.py", "scripts.manage", id="a room imports a verb"),
        pytest.param(
            "scripts/pairs/client.py", "scripts.command_line.arguments", id="a room reads arguments"
        ),
        pytest.param("scripts/pairs/client.py", "scripts.torchserve.ports", id="pairs imports torchserve"),
        pytest.param("scripts/pairs/client.py", "scripts.model.weights", id="pairs imports model"),
        pytest.param("scripts/torchserve/ports.py", "scripts.bench.load", id="torchserve imports bench"),
        pytest.param("scripts/torchserve/ports.py", "scripts.model.weights", id="torchserve imports model"),
        pytest.param("scripts/model/weights.py", "scripts.torchserve.ports", id="model imports torchserve"),
        pytest.param("handler/settings.py", "scripts.pairs.client", id="the handler imports scripts"),
        pytest.param("handler/request.py", "handler.encoding", id="a request imports its encoding"),
        pytest.param("handler/encoding.py", "handler.engine", id="encoding imports the engine"),
        pytest.param("handler/engine.py", "handler.answer", id="the engine imports the answer"),
        pytest.param("handler/answer.py", "handler.engine", id="the answer imports the engine"),
        pytest.param("handler/answer.py", "handler.service", id="the answer imports the service"),
        pytest.param("handler/engine.py", "ts.context", id="the engine knows TorchServe's package"),
        pytest.param("scripts/torchserve/ports.py", "ts.context", id="a script knows TorchServe's package"),
    ],
)
def test_a_wrong_arrow_is_refused_even_inside_a_function(copy: Path, importer: str, imported: str) -> None:
    with (copy / importer).open("a", encoding="utf-8") as file:
        file.write(f"\n\ndef planted() -> None:\n    import {imported}\n")
    checked = lint(copy)
    assert checked.returncode == 1, checked.stdout
    module = importer.removesuffix(".py").replace("/", ".")
    assert (
        f"{module} -> {imported.split('.')[0] if imported.startswith('ts.') else imported}" in checked.stdout
    )


@pytest.mark.parametrize("name", ["scripts/ask.py", "handler/sampling.py", "scripts/tools/__init__.py"])
def test_a_module_without_a_place_in_the_contract_is_refused(copy: Path, name: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text('"""New."""\n', encoding="utf-8")
    checked = lint(copy)
    assert checked.returncode == 1
    assert Path(name.removesuffix("/__init__.py")).stem in checked.stdout
