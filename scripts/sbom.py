"""List what serving installs: a bill of materials in CycloneDX's format, and the licences as a table.

Listed are the packages of .venv that the lock of the set `serve` names, torch, and the CUDA it may bring.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Set
from pathlib import Path
from typing import Any

from handler.errors import ConfigurationError
from scripts import PROJECT
from scripts.command_line.arguments import argument_parser, run

TOOL = "cyclonedx-bom==7.5.0"
"""What lists all of an environment. uv runs it from an environment of its own, so it is in no lock."""


def main() -> int:
    """Read the arguments and write both files."""
    parser = argument_parser(
        __doc__ or "", "scripts/setup dev && python scripts/sbom.py --output .run/release"
    )
    parser.add_argument("--output", type=Path, default=PROJECT / ".run" / "release", metavar="FOLDER")
    folder: Path = parser.parse_args().output
    lock = (PROJECT / "requirements" / "serve.txt").read_text(encoding="utf-8")
    bill = needed(environment(), {"torch", *re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)})
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("sbom.json", json.dumps(bill, indent=1)), ("licences.md", licences(bill))):
        (folder / name).write_text(text, encoding="utf-8")
    print(f"{len(bill['components'])} packages are in {folder}/sbom.json and {folder}/licences.md")
    return 0


def environment() -> dict[str, Any]:
    """The bill of materials of all that .venv holds."""
    uv = Path(sys.executable).with_name("uv")
    command: list[str | Path] = [uv, "--quiet", "tool", "run", "--from", TOOL, "cyclonedx-py", "environment"]
    command += ["--output-reproducible", "--pyproject", PROJECT / "pyproject.toml", sys.executable]
    if not uv.exists():
        raise ConfigurationError(f"{uv} is missing: run scripts/setup dev first")
    listed = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if listed.returncode:
        raise ConfigurationError(f"{TOOL} failed (exit code {listed.returncode}); see above")
    bill: dict[str, Any] = json.loads(listed.stdout)
    return bill


def needed(bill: dict[str, Any], names: Set[str]) -> dict[str, Any]:
    """The part of a bill of materials that has the named packages and CUDA's.

    Its dependencies don't tell what belongs: they count what a package only needs for an extra.
    """
    kept = [
        each
        for each in bill["components"]
        if (name := _normal(each["name"])) in names or re.match("(nvidia|cuda)-|triton$", name)
    ]
    wanted = {each["bom-ref"] for each in kept}
    root = bill["metadata"]["component"]["bom-ref"]
    dependencies = [
        each | {"dependsOn": [ref for ref in each.get("dependsOn", []) if ref in wanted]}
        for each in bill["dependencies"]
        if each["ref"] in {root, *wanted}
    ]
    return bill | {"components": kept, "dependencies": dependencies}


def licences(bill: dict[str, Any]) -> str:
    """A table of packages, versions and the licences that their own metadata states."""
    rows = ["| package | version | licence |", "|---|---|---|"]
    for each in sorted(bill["components"], key=lambda component: str(component["name"]).lower()):
        stated = [
            found.get("expression") or found["license"].get("id") or found["license"]["name"]
            for found in each.get("licenses", [])
        ]
        names = dict.fromkeys(" ".join(name.rpartition("::")[2].split()) for name in stated)
        rows.append(f"| {each['name']} | {each['version']} | {'; '.join(names)[:200] or 'not stated'} |")
    return "\n".join(rows) + "\n"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(run(main))
