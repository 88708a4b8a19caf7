"""Everything imported is asked for by name in pyproject.toml, and the locks hold what it asks for."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from scripts import PROJECT
from scripts.setup import TORCH, locked, torch_requirement

DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SETS: dict[str, list[str]] = {"serve": DECLARED["dependencies"], **DECLARED["optional-dependencies"]}
OURS = {"handler", "scripts", "tests"}
ELSEWHERE = {"kserve", "kubernetes", "httpx"}
"""What tests/service/kserve_client.py and kserve_fields.py import, which run in an environment of its own."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(*sets: str) -> dict[str, str]:
    found = [requirement.split("==") for name in sets for requirement in SETS[name]]
    return {normal(name.partition("[")[0]): version for name, version in found}


def imported(files: Iterable[Path]) -> dict[str, str]:
    """Top-level names of third parties that the files import, each with a file that does."""
    found = {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in {name.split(".")[0] for name in names} - OURS - ELSEWHERE - sys.stdlib_module_names:
                found[name] = str(file.relative_to(PROJECT))
    return found


@pytest.mark.parametrize(
    ("folder", "sets"),
    [("handler", ["serve"]), ("scripts", ["serve", "build", "bench", "bulk"]), ("tests", list(SETS))],
)
def test_every_import_of_a_third_party_is_named(folder: str, sets: list[str]) -> None:
    distributions = packages_distributions()
    unnamed = {
        name: file
        for name, file in imported((PROJECT / folder).rglob("*.py")).items()
        if not {normal(each) for each in distributions.get(name, [name])} & pins(*sets).keys()
    }
    assert not unnamed, f"imported, but not named in pyproject.toml for {sets}"


@pytest.mark.parametrize(("name", "sets"), [(name, ["serve", name]) for name in SETS])
def test_a_set_is_locked_as_declared(name: str, sets: list[str]) -> None:
    entries = locked(name)
    wanted = pins(*sets)
    assert wanted.pop(TORCH) == torch_requirement().split("==")[1]
    assert {each: version_of(entries[each]) for each in wanted if each in entries} == wanted, (
        "run scripts/lock"
    )


def test_every_line_of_a_lock_is_an_entry_with_hashes_that_no_other_lock_contradicts() -> None:
    versions: dict[str, set[str]] = {}
    for file in (PROJECT / "requirements").glob("*.txt"):
        entries = locked(file.stem)
        named = re.findall(r"^([\w.-]+)==", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert {normal(name) for name in named} <= entries.keys()
        for name, entry in entries.items():
            versions.setdefault(name, set()).add(version_of(entry))
    assert len(versions) > 100
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def version_of(entry: str) -> str:
    return entry.split()[0].split("==")[1]
