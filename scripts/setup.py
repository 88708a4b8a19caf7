"""Make .venv hold what the lock of a set says, whatever is in it now.

Any supported Python runs this before anything is installed, so it imports nothing but the standard library.
What is installed is compared with the lock each time; only an unfinished installation is remembered.
Packages of other sets stay: all sets are locked together, so none needs another version.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
VENV = PROJECT / ".venv"
PYTHON = VENV / "bin" / "python"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES = VENV / "lib" / f"python{VERSION}" / "site-packages"
UNFINISHED = VENV / ".unfinished"
"""There while packages are installed. Found later, it says that any of them may lack files."""

ENTRY = re.compile(r"^([\w.-]+)==(\S+) \\\n(?: +--hash=.*\n)+", re.MULTILINE)
TORCH, SETUPTOOLS = "torch", "setuptools"

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of builds without CUDA, whose gigabytes a machine without a GPU never loads."""


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
        wait_for_others()
        try:
            names = differing(wanted)
        except UnusableVenvError as error:
            print(f"making .venv with Python {VERSION} ({error}) ...", file=sys.stderr)
            make_venv()
            names = set(wanted)
        if names:
            install(wanted, names)
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


def wait_for_others() -> None:
    """Wait until no other process sets this project up, and keep others waiting until this one ends."""
    folder = os.open(PROJECT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("waiting for another scripts/setup ...", file=sys.stderr)
        fcntl.flock(folder, fcntl.LOCK_EX)


def differing(wanted: Mapping[str, str]) -> set[str]:
    """Packages that are not installed in the locked version.

    Raises:
        UnusableVenvError: installing them would not make .venv what it should be.
    """
    if not PACKAGES.is_dir() or not PYTHON.exists():
        raise UnusableVenvError("it has another Python" if VENV.exists() else "it does not exist")
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
    return {name for name, entry in wanted.items() if installed.get(name) != entry.split()[0].split("==")[1]}


def make_venv() -> None:
    """Replace .venv by one that has pip and knows where the project is."""
    try:
        venv.EnvBuilder(clear=True, symlinks=True).create(VENV)
    except ValueError as error:  # such as a colon in the path
        raise SetupError(str(error)) from None
    UNFINISHED.touch()
    # Lets scripts import `handler` and `scripts` from wherever they are called.
    (PACKAGES / "project.pth").write_text("../../../..\n", encoding="utf-8")
    command = [str(PYTHON), "-I", "-m", "ensurepip", "--default-pip"]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        raise SetupError(f"Python {VERSION} has no pip (on Debian: apt-get install python{VERSION}-venv)")


def install(wanted: Mapping[str, str], names: set[str]) -> None:
    """Install what differs, each file but torch's checked against its hashes."""
    print(f"installing {len(names)} packages into .venv (minutes, if they are many) ...", file=sys.stderr)
    UNFINISHED.touch()
    # Packages that come as source are built with the locked setuptools, so it is installed before them.
    for group in (names & {SETUPTOOLS}, names - {SETUPTOOLS, TORCH}):
        if group:
            entries = "".join(wanted[name] for name in sorted(group))
            options = ("--require-hashes", "--no-deps", "--no-build-isolation", "-r", "/dev/stdin")
            pip("install", *options, entries=entries)
    if TORCH in names:
        install_torch(wanted[TORCH])
    pip("check")
    UNFINISHED.unlink()


def install_torch(requirement: str) -> None:
    """Install torch from the index that TORCH_INDEX names, or without it from the first of these that has it.

    They are the folders of wheels in pip's configuration, PyTorch's CPU builds where this is Linux without an
    NVIDIA GPU and pip can use their index, and the index of all other packages, which an empty TORCH_INDEX
    stands for too.
    """
    index = os.environ.get("TORCH_INDEX")
    # What a CPU build needs is locked, and so installed; a CUDA build brings its libraries.
    from_index = ("install", "--no-deps", "--index-url")
    if index is None:
        if not _run_pip("install", "--no-index", requirement, stderr=subprocess.DEVNULL).returncode:
            return
        no_gpu = sys.platform == "linux" and not shutil.which("nvidia-smi")
        if no_gpu and answers(CPU_INDEX):
            print(f"installing {requirement} from {CPU_INDEX} ...", file=sys.stderr)
            if not _run_pip(*from_index, CPU_INDEX, "--retries", "1", requirement).returncode:
                return
    print(f"installing {requirement} from {index or 'the index of all packages'} ...", file=sys.stderr)
    pip(*((*from_index, index) if index else ("install",)), requirement)


def answers(index: str, seconds: float = 5) -> bool:
    """Whether an index lists torch, known in time even where the network drops what is sent."""
    # Whose certificate it shows is for pip to check, with the authorities that it is configured for.
    code = "import ssl, sys; from urllib.request import urlopen as get; "
    code += "get(sys.argv[1], context=ssl._create_unverified_context())"
    command = [sys.executable, "-I", "-c", code, f"{index}/{TORCH}/"]
    try:
        return not subprocess.run(command, stderr=subprocess.DEVNULL, timeout=seconds, check=False).returncode
    except subprocess.TimeoutExpired:
        return False


def pip(*arguments: str, entries: str = "") -> None:
    """Run .venv's pip, which says itself what went wrong, and takes back a package that it can't install."""
    ended = _run_pip(*arguments, entries=entries)
    if ended.returncode > 0:
        UNFINISHED.unlink()
    if ended.returncode:
        print(ended.stdout, end="", file=sys.stderr)
        raise SetupError(f"pip {arguments[0]} failed (exit code {ended.returncode}); see above")


def _run_pip(
    *arguments: str, entries: str = "", stderr: int | None = None
) -> subprocess.CompletedProcess[str]:
    quiet = () if arguments == ("check",) else ("-qq",)
    command = [PYTHON, "-I", "-m", "pip", *quiet, "--disable-pip-version-check", "--no-input", *arguments]
    return subprocess.run(
        command, input=entries, stdout=subprocess.PIPE, stderr=stderr, text=True, check=False
    )


def _normal(name: str) -> str:
    """A package's name, as any spelling of it compares."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
