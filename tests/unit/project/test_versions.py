"""The versions of Python and of the project itself are stated once, and whatever repeats them agrees."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from scripts import PROJECT, VERSION, classify, convert_checkpoint, manage, serve
from tests.commands import call

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))


def test_what_is_developed_with_and_checked_for_is_the_oldest_supported_python() -> None:
    bounds = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PYPROJECT["project"]["requires-python"])
    assert bounds, "scripts/setup reads this form"
    oldest, after = (f"3.{minor}" for minor in bounds.groups())
    assert (PROJECT / ".python-version").read_text(encoding="utf-8").strip() == oldest
    assert PYPROJECT["tool"]["mypy"]["python_version"] == oldest
    locked = re.search(r'in "\$oldest" (.*); do', (PROJECT / "scripts" / "lock").read_text(encoding="utf-8"))
    assert locked
    minors = range(int(bounds[1]) + 1, int(bounds[2]))
    assert locked[1].split() == [f"3.{minor}" for minor in minors], f"up to the one before {after}"


@pytest.mark.parametrize(
    "newer", ["type Text = str\n", "def first[T](of: list[T]) -> T:\n    return of[0]\n"]
)
def test_syntax_of_a_newer_python_is_refused(newer: str) -> None:
    command: list[str | Path] = [
        Path(sys.executable).with_name("ruff"),
        "check",
        "--no-cache",
        "--stdin-filename",
    ]
    checked = subprocess.run(
        [*command, PROJECT / "scripts" / "newer.py", "-"],
        input=f'"""A module."""\n\n{newer}',
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "invalid-syntax" in checked.stdout
    assert "Python 3.11" in checked.stdout


@pytest.mark.parametrize(
    "verb", [classify, convert_checkpoint, manage, serve], ids=lambda verb: verb.__name__
)
def test_a_verb_prints_the_version(verb: object) -> None:
    assert call(verb.main, "--version").stdout == f"{VERSION}\n"  # type: ignore[attr-defined]


def test_the_image_the_chart_and_the_changelog_name_the_version() -> None:
    chart = yaml.safe_load((PROJECT / "deploy" / "helm" / "korean-nli" / "Chart.yaml").read_text("utf-8"))
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
    described = json.loads((PROJECT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    assert described["info"]["version"] == VERSION
    for file in (PROJECT / "docs" / "cluster.md", PROJECT / "deploy" / "kserve" / "servingruntime.yaml"):
        tags = re.findall(r"korean-nli:(\d\S*)", file.read_text(encoding="utf-8"))
        assert {*tags} == {VERSION}, file.name
    dockerfile = (PROJECT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"org\.opencontainers\.image\.version=(\S+)", dockerfile) == [VERSION]
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (\S+)(?: - (\d{4}-\d{2}-\d{2}))?$", changelog, re.MULTILINE)
    assert sections[0] == ("Unreleased", "")
    assert (sections[1][0], bool(sections[1][1])) == (VERSION, True)
