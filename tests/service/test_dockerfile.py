"""What deploy/Dockerfile does, done in a folder that has only what the image would have."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from string import Template

import pytest

from scripts import PROJECT

ALONE = (
    "import runpy, sys; sys.path.remove({project!r}); sys.path.insert(0, {image!r}); "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
"""Runs a script without the project itself on Python's path."""


def instructions(kind: str) -> list[str]:
    """The arguments of every instruction of a kind, with continued lines joined."""
    text = (PROJECT / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if not line.startswith("#")]
    return [line[1] for line in lines if line and line[0] == kind]


def context() -> list[Path]:
    """Files that .dockerignore lets through, relative to the project."""
    lines = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = [PROJECT / line.removeprefix("!") for line in lines if line.startswith("!")]
    files = [
        file for top in allowed for file in (top.rglob("*") if top.is_dir() else [top]) if file.is_file()
    ]
    return [file.relative_to(PROJECT) for file in files if "__pycache__" not in file.parts]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    files = context()
    for copy in instructions("COPY"):
        *sources, target = copy.split()
        for source in map(Path, sources):
            copied = [file for file in files if file == source or source in file.parents]
            assert copied, f"{source} is not in the build context"
            for file in copied:
                inside = file.relative_to(source) if file != source else Path(source.name)
                to = (
                    folder / target / inside
                    if target.endswith(("/", ".")) or file != source
                    else folder / target
                )
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PROJECT / file, to)
    return folder


def run(image: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = ALONE.format(project=str(PROJECT), image=str(image))
    return subprocess.run(
        [sys.executable, "-c", code, script, *arguments],
        cwd=image,
        env={"PATH": os.environ["PATH"], "HOME": str(image)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_setup_finds_the_lock_that_it_installs(image: Path) -> None:
    (command,) = [run for run in instructions("RUN") if "scripts/setup" in run]
    setup, wanted = shlex.split(command.split("&&")[0])[-2:]
    asked = subprocess.run([image / setup, "?"], capture_output=True, text=True, check=False)
    assert asked.stderr == f"error: there is no set '?' in {image}/requirements, only {wanted}\n"


def test_the_archive_is_built_and_the_start_is_understood(image: Path) -> None:
    (command,) = [run for run in instructions("RUN") if "build_archive.py" in run]
    defaults = dict(each.split("=") for each in instructions("ARG") if "=" in each)
    python, script, *arguments = shlex.split(Template(command.split("&&")[0]).substitute(defaults))
    assert python == "python"
    built = run(image, script, *arguments)
    assert built.returncode == 0, built.stderr

    python, script, *arguments = json.loads(instructions("CMD")[-1])
    assert python == "python"
    started = run(image, script, *arguments, "--no-such-option")
    assert started.stderr.endswith("error: unrecognized arguments: --no-such-option\n")
    for option in ("--archive", "--config"):
        assert (image / arguments[arguments.index(option) + 1]).is_file()
