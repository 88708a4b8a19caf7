"""Make .venv hold what the lock of a set says, whatever is in it now.

Any Python 3.11 runs this before anything is installed, so it imports nothing but the standard library.
What is installed is compared with the lock each time; only an unfinished installation is remembered.
Packages of other sets stay: all sets are locked together, so none needs another version.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
VENV = PROJECT / ".venv"
PYTHON = VENV / "bin" / "python"
PACKAGES = VENV / "lib" / "python3.11" / "site-packages"
UNFINISHED = VENV / ".unfinished"
"""There while packages are installed. Found later, it says that any of them may lack files."""

PATH_FILE = ("project.pth", "../../../..\n")
"""Lets scripts import `handler` and `scripts` from wherever they are called."""

ENTRY = re.compile(r"^([\w.-]+)==(\S+) \\\n(?: +--hash=.*\n)+", re.MULTILINE)
TORCH, SETUPTOOLS = "torch", "setuptools"


class SetupError(Exception):
    """Why .venv could not be brought to the lock."""


class UnusableVenvError(Exception):
    """Why .venv has to be made anew before anything can be installed into it."""


def main(sets: Sequence[str]) -> int:
    """Bring .venv to the locked versions of the named sets."""
    try:
        wanted = {TORCH: torch_requirement()}
        for name in sets or ["serve"]:
            wanted |= locked(name)
        try:
            if not differing(wanted):
                return 0
        except UnusableVenvError:
            pass
        with alone():
            bring(wanted)
        return 0
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: cannot set up {VENV}: {error.strerror}: {error.filename}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def torch_requirement() -> str:
    """What pyproject.toml says of torch; its builds differ by machine, so no lock has hashes for it."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return next(str(each) for each in project["dependencies"] if each.startswith(f"{TORCH}=="))


def locked(name: str) -> dict[str, str]:
    """By package, the lock's entries for a set and the sets that it builds on, with their hashes."""
    folder = PROJECT / "requirements"
    known = sorted(file.stem for file in folder.glob("*.txt"))
    if name not in known:
        raise SetupError(f"there is no set {name!r} in {folder}, only {', '.join(known)}")
    text = (folder / f"{name}.txt").read_text(encoding="utf-8")
    entries = {_normal(found[1]): found[0] for found in ENTRY.finditer(text)}
    for base in re.findall(r"^-r (\S+)\.txt$", text, re.MULTILINE):
        entries |= locked(base)
    return entries


def differing(wanted: Mapping[str, str]) -> list[str]:
    """Packages that are not installed in the locked version.

    Raises:
        UnusableVenvError: installing them would not make .venv what it should be.
    """
    if not PACKAGES.is_dir() or not PYTHON.exists():
        raise UnusableVenvError("it does not exist" if not VENV.exists() else "it has no Python 3.11")
    if UNFINISHED.exists():
        raise UnusableVenvError("an installation was interrupted")
    made = re.search(r"^command = .* -m venv (.*)$", (VENV / "pyvenv.cfg").read_text("utf-8"), re.MULTILINE)
    if made and not f" {made[1]}".endswith(f" {VENV}"):
        raise UnusableVenvError("it was made in another folder")
    installed: dict[str, str] = {}
    for each in distributions(path=[str(PACKAGES)]):
        name = _normal(each.metadata["Name"] or "")
        if not name or name in installed or each.read_text("RECORD") is None:
            raise UnusableVenvError(f"its package {name} is incomplete")
        installed[name] = each.version.split("+")[0]
    if "pip" not in installed:
        raise UnusableVenvError("it has no pip")
    return [name for name, entry in wanted.items() if installed.get(name) != entry.split()[0].split("==")[1]]


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other process sets this project up."""
    folder = os.open(PROJECT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another scripts/setup ...", file=sys.stderr)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def bring(wanted: Mapping[str, str]) -> None:
    """Install what differs, into a new .venv where this one is unusable."""
    try:
        names = differing(wanted)
    except UnusableVenvError as error:
        print(f"making .venv ({error}) ...", file=sys.stderr)
        make_venv()
        names = list(wanted)
    if not names:
        return
    print(f"installing {len(names)} packages into .venv (minutes, if they are many) ...", file=sys.stderr)
    UNFINISHED.touch()
    # Packages that come as source are built with the locked setuptools, so it is installed before them.
    for group in ({SETUPTOOLS}, wanted.keys() - {SETUPTOOLS, TORCH}):
        install([wanted[name] for name in names if name in group])
    if TORCH in names:
        pip("install", wanted[TORCH])
    pip("check")
    UNFINISHED.unlink()


def make_venv() -> None:
    """Replace .venv by one that has pip and knows where the project is."""
    try:
        venv.EnvBuilder(clear=True, symlinks=True).create(VENV)
    except ValueError as error:  # such as a colon in the path
        raise SetupError(str(error)) from None
    UNFINISHED.touch()
    name, content = PATH_FILE
    (PACKAGES / name).write_text(content, encoding="utf-8")
    command = [str(PYTHON), "-I", "-m", "ensurepip", "--default-pip"]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        raise SetupError(f"{sys.executable} cannot install pip (on Debian: apt-get install python3.11-venv)")


def install(entries: Sequence[str]) -> None:
    """Install exactly these entries of a lock, each file checked against its hashes."""
    if not entries:
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("".join(entries), encoding="utf-8")
        pip("install", "--require-hashes", "--no-deps", "--no-build-isolation", "-r", str(file))


def pip(*arguments: str) -> None:
    """Run .venv's pip, which says itself what went wrong, and takes back a package that it can't install."""
    quiet = [] if arguments == ("check",) else ["-qq"]
    command = [
        str(PYTHON),
        "-I",
        "-m",
        "pip",
        *quiet,
        "--disable-pip-version-check",
        "--no-input",
        *arguments,
    ]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode > 0:
        UNFINISHED.unlink()
    if ended.returncode:
        print(ended.stdout, end="", file=sys.stderr)
        raise SetupError(f"pip {arguments[0]} failed (exit code {ended.returncode}); see above")


def _normal(name: str) -> str:
    """A package's name, as any spelling of it compares."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
