"""`scripts/setup` in projects of its own, with small wheels made here: no network, and a real pip."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts import PROJECT
from scripts.setup import CPU_INDEX, answers

PYPROJECT = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
PRINT_PYTHON = "import sys; print('%d.%d' % sys.version_info[:2])"
PRINT_VERSION = "import alpha; print(alpha.VERSION)"
TORCH = "2.0"


def make_wheel(folder: Path, name: str, version: str) -> str:
    """Write a wheel with one module; the return value is its SHA-256."""
    info = f"{name}-{version}.dist-info"
    content = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    content[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*content, f"{info}/RECORD"])
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file, text in content.items():
            archive.writestr(file, text)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@dataclass
class Project:
    """A copy of the setup scripts, with a lock that names packages from a folder of wheels."""

    folder: Path
    wheels: Path

    def write(self) -> Project:
        (self.folder / "scripts").mkdir(parents=True)
        (self.folder / "requirements").mkdir()
        for name in ("setup", "setup.py"):
            shutil.copy(PROJECT / "scripts" / name, self.folder / "scripts")
        python = next(line for line in PYPROJECT.splitlines() if line.startswith("requires-python"))
        text = f'[project]\nname = "small"\n{python}\ndependencies = ["torch=={TORCH}"]\n'
        (self.folder / "pyproject.toml").write_text(text, encoding="utf-8")
        self.wheels.mkdir(exist_ok=True)
        make_wheel(self.wheels, "torch", f"{TORCH}+cpu")
        return self

    def lock(self, name: str, base: str | None = None, sha256: str = "", **versions: str) -> None:
        text = f"-r {base}.txt\n" if base else ""
        for package, version in versions.items():
            digest = sha256 or make_wheel(self.wheels, package, version)
            text += f"{package}=={version} \\\n    --hash=sha256:{digest}\n    # via small (pyproject.toml)\n"
        (self.folder / "requirements" / f"{name}.txt").write_text(text, encoding="utf-8")

    def command(self, *sets: str) -> list[str]:
        return [str(self.folder / "scripts" / "setup"), *sets]

    def environment(self) -> dict[str, str]:
        ours = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": self.wheels.as_uri(), "PIP_CONFIG_FILE": os.devnull}
        others = ("PIP_", "PYTHON", "TORCH_INDEX")
        return {name: value for name, value in os.environ.items() if not name.startswith(others)} | ours

    def setup(
        self, *sets: str, before: tuple[str, ...] = (), **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*before, *self.command(*sets)],
            cwd="/",
            env=self.environment() | variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def python(self, code: str) -> str:
        command = [str(self.folder / ".venv" / "bin" / "python"), "-c", code]
        return subprocess.check_output(command, cwd="/", text=True).strip()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder without a line for each request."""

    def log_message(self, *_: object) -> None:
        pass


MakeProject = Callable[[str], Project]


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    def make(name: str) -> Project:
        project = Project(tmp_path / name, tmp_path / "wheels").write()
        project.lock("serve", alpha="1.0", beta="1.0")
        return project

    return make


def test_the_locked_versions_are_installed_whatever_was_there(make_project: MakeProject) -> None:
    project = make_project("project")
    project.lock("dev", "serve", gamma="3.0")
    first = project.setup("dev")
    assert first.returncode == 0, first.stderr
    assert project.python("import alpha, beta, gamma, torch; print(gamma.VERSION)") == "3.0"
    away = project.wheels.rename(project.wheels.with_name("away"))
    second = project.setup("dev")
    assert (second.returncode, second.stderr) == (0, ""), "nothing has to be done"
    away.rename(project.wheels)

    project.lock("serve", alpha="1.1", beta="1.0")
    assert project.setup().returncode == 0
    assert project.python(PRINT_VERSION) == "1.1"
    project.lock("serve", alpha="1.0", beta="1.0")
    again = project.setup()
    assert "installing 1 packages" in again.stderr
    assert project.python(PRINT_VERSION) == "1.0"
    assert project.python("import gamma; print(gamma.VERSION)") == "3.0", "another set's package stays"

    record = next((project.folder / ".venv").glob("lib/*/site-packages/beta-*/RECORD"))
    record.unlink()
    repaired = project.setup()
    assert "its package beta is incomplete" in repaired.stderr
    assert record.exists()


def test_a_file_that_is_not_the_locked_one_is_refused(make_project: MakeProject) -> None:
    project = make_project("project")
    project.lock("serve", sha256=hashlib.sha256(b"another").hexdigest(), alpha="1.0")
    make_wheel(project.wheels, "alpha", "1.0")
    refused = project.setup()
    assert refused.returncode == 1
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert refused.stderr.splitlines()[-1].startswith("error: pip install failed")
    assert not list(project.folder.glob(".venv/lib/*/site-packages/alpha*"))
    project.lock("serve", alpha="1.0")
    mended = project.setup()
    assert mended.returncode == 0, mended.stderr
    assert "making .venv" not in mended.stderr, "a refused package leaves what is there usable"


def test_an_interrupted_installation_is_begun_anew(make_project: MakeProject) -> None:
    project = make_project("project")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        packages = {"PIP_FIND_LINKS": f"http://127.0.0.1:{silent.getsockname()[1]}", "NO_PROXY": "*"}
        killed = subprocess.Popen(
            project.command(),
            env=project.environment() | packages,
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        silent.settimeout(60)
        with silent.accept()[0]:
            os.killpg(killed.pid, signal.SIGKILL)
            killed.wait()
    mended = project.setup()
    assert mended.returncode == 0, mended.stderr
    assert "an installation was interrupted" in mended.stderr
    assert project.python(PRINT_VERSION) == "1.0"


def test_two_setups_at_once_leave_one_whole_environment(make_project: MakeProject) -> None:
    project = make_project("project")
    both = [
        subprocess.Popen(project.command(), env=project.environment(), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("making .venv" in text for text in said) == 1
    assert project.python(PRINT_VERSION) == "1.0"


def test_an_environment_of_another_folder_or_python_is_made_anew(make_project: MakeProject) -> None:
    project = make_project("before")
    assert project.setup().returncode == 0
    project.folder = project.folder.rename(project.folder.with_name("after"))
    moved = project.setup()
    assert "it was made in another folder" in moved.stderr
    assert moved.returncode == 0, moved.stderr
    pip = project.folder / ".venv" / "bin" / "pip"
    assert subprocess.run([pip, "--version"], check=False, capture_output=True).returncode == 0
    (library,) = project.folder.glob(".venv/lib/python3.*")
    library.rename(library.with_name("python3.2"))
    upgraded = project.setup()
    assert "it has another Python" in upgraded.stderr
    assert upgraded.returncode == 0, upgraded.stderr


def other_python() -> str:
    """A supported Python of another version than the one that runs the tests."""
    names = {f"python3.{minor}" for minor in (11, 12, 13)} - {f"python3.{sys.version_info.minor}"}
    folders = [Path(folder) for folder in os.get_exec_path()]
    folders += Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/*/bin")
    for program in (folder / name for folder in folders for name in sorted(names)):
        if (
            program.is_file()
            and not subprocess.run([program, "-c", "import ensurepip"], check=False).returncode
        ):
            return str(program)
    pytest.skip("no other supported version of Python is installed")


def test_the_named_python_makes_the_environment_anew_and_is_kept(make_project: MakeProject) -> None:
    project, other = make_project("project"), other_python()
    assert project.setup(PYTHON=sys.executable).returncode == 0
    first = project.python(PRINT_PYTHON)
    changed = project.setup(PYTHON=other)
    assert changed.returncode == 0, changed.stderr
    version = Path(other).name.removeprefix("python")
    assert f"making .venv with Python {version} (it has another Python)" in changed.stderr
    assert project.python(PRINT_PYTHON) == version != first
    assert project.python(PRINT_VERSION) == "1.0"
    kept = project.setup()
    assert (kept.returncode, kept.stderr) == (0, "")
    (project.folder / ".venv" / ".unfinished").touch()
    assert f"making .venv with Python {version} (an inst" in project.setup().stderr, (
        ".venv's own makes it anew"
    )


def test_the_newest_supported_python_is_taken_and_stubs_are_passed_over(
    make_project: MakeProject, tmp_path: Path
) -> None:
    project = make_project("project")
    stubs, programs = tmp_path / "stubs", tmp_path / "programs"
    for folder, python, text in [
        (stubs, "python3.13", "exit 127"),
        (stubs, "python3.12", "exit 0"),
        (programs, "python3.13", 'case "$*" in *version_info*) exit 0;; *) echo "took $0" >&2;; esac'),
        (programs, "python3.14", "exit 0"),
    ]:
        folder.mkdir(exist_ok=True)
        (folder / python).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (folder / python).chmod(0o755)
    path = os.pathsep.join([str(stubs), str(programs), os.environ["PATH"]])
    assert project.setup(PATH=path).stderr == f"took {programs}/python3.13\n"
    refused = project.setup(PYTHON="python3.10")
    assert refused.stderr == "error: Python 3.11 to 3.13 is needed; none of these is one: python3.10\n"


def index_of_torch(folder: Path, local: str) -> str:
    """An index in a folder that lists one build of torch; the return value is its URL."""
    (folder / "torch").mkdir(parents=True)
    make_wheel(folder / "torch", "torch", f"{TORCH}{local}")
    (wheel,) = (folder / "torch").glob("*.whl")
    (folder / "torch" / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>', encoding="utf-8")
    return folder.as_uri()


def test_torch_comes_from_the_first_source_that_has_it(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project("project")
    sources = {
        "TORCH_INDEX": index_of_torch(tmp_path / "named", "+named"),
        "PIP_INDEX_URL": index_of_torch(tmp_path / "ordinary", "+ordinary"),
        "PIP_NO_INDEX": "",
    }
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "nvidia-smi").symlink_to("/bin/true")
    with_gpu = os.pathsep.join([str(programs), os.environ["PATH"]])
    torch = "from importlib.metadata import version; print(version('torch'))"

    def torch_with(*names: str, before: tuple[str, ...] = (), **variables: str) -> str:
        for installed in project.folder.glob(".venv/lib/*/site-packages/torch*"):
            shutil.rmtree(installed) if installed.is_dir() else installed.unlink()
        chosen = {name: sources[name] for name in names}
        ended = project.setup(before=before, **chosen, **variables)
        assert ended.returncode == 0, ended.stderr
        return project.python(torch)

    assert torch_with(*sources) == f"{TORCH}+named"
    assert torch_with("PIP_INDEX_URL", "PIP_NO_INDEX") == f"{TORCH}+cpu", (
        "pip's own folder of wheels is first"
    )
    next(project.wheels.glob("torch-*")).unlink()
    assert torch_with("PIP_INDEX_URL", "PIP_NO_INDEX", PATH=with_gpu) == f"{TORCH}+ordinary"
    if not os.geteuid():
        alone = ("unshare", "--net")
        assert torch_with("PIP_INDEX_URL", "PIP_NO_INDEX", before=alone) == f"{TORCH}+ordinary"


def test_an_index_that_answers_without_the_wheel_is_passed_over(
    make_project: MakeProject, tmp_path: Path
) -> None:
    project = make_project("project")
    next(project.wheels.glob("torch-*")).unlink()
    ordinary = index_of_torch(tmp_path / "ordinary", "+ordinary")
    (tmp_path / "cpu" / "torch").mkdir(parents=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=tmp_path / "cpu")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        script = project.folder / "scripts" / "setup.py"
        text = script.read_text(encoding="utf-8")
        script.write_text(text.replace(CPU_INDEX, f"http://127.0.0.1:{server.server_port}"), encoding="utf-8")
        ended = project.setup(PIP_INDEX_URL=ordinary, PIP_NO_INDEX="")
        server.shutdown()
    assert ended.returncode == 0, ended.stderr
    assert "No matching distribution" in ended.stderr
    assert (
        project.python("from importlib.metadata import version; print(version('torch'))")
        == f"{TORCH}+ordinary"
    )


def test_an_index_that_does_not_answer_is_known_in_time(tmp_path: Path) -> None:
    index_of_torch(tmp_path, "")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert answers(url)
        assert not answers(f"{url}/elsewhere")
        server.shutdown()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert not answers(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=1)
        assert time.monotonic() - began < 60


@pytest.mark.parametrize("name", ["한국어 폴더", 'it\'s "$HOME" %d & `x`; *', "l" * 200])
def test_any_path_is_fine(make_project: MakeProject, name: str) -> None:
    project = make_project(name)
    link = project.folder.with_name("link")
    link.symlink_to(project.folder)
    assert project.setup().returncode == 0
    (project.folder / "handler.py").touch()
    assert project.python("import alpha, handler; print(handler.__file__)").startswith(str(project.folder))
    project.folder = link
    through_link = project.setup()
    assert (through_link.returncode, through_link.stderr) == (0, "")


def test_a_folder_that_cannot_be_written_is_used_or_refused_in_one_line(make_project: MakeProject) -> None:
    if os.geteuid():
        pytest.skip("needs root, to mount a folder read-only")
    project = make_project("project")
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$1/scripts/setup"'
    read_only = ("unshare", "--mount", "sh", "-c", script, "sh", str(project.folder))
    refused = project.setup(before=read_only)
    assert refused.returncode == 1
    *_, last = refused.stderr.splitlines()
    assert last.startswith(f"error: cannot set up {project.folder}/.venv: Read-only file system")
    assert "Traceback" not in refused.stderr
    assert project.setup().returncode == 0
    used = project.setup(before=read_only)
    assert (used.returncode, used.stderr) == (0, "")


def test_what_is_missing_is_said_in_one_line(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project("project")
    project.lock("dev")
    unknown = project.setup("all")
    assert (unknown.returncode, unknown.stderr) == (
        1,
        f"error: there is no set 'all' in {project.folder}/requirements, only dev, serve\n",
    )
    programs = tmp_path / "programs"
    programs.mkdir()
    for program in ("bash", "env", "dirname", "readlink", "sed"):
        (programs / program).symlink_to(shutil.which(program) or "")
    (programs / "python3").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (programs / "python3").chmod(0o755)
    without = subprocess.run(
        project.command(), env={"PATH": str(programs)}, capture_output=True, text=True, check=False
    )
    assert without.returncode == 1
    assert without.stderr == (
        f"error: Python 3.11 to 3.13 is needed; none of these is one: .venv/bin/python {programs}/python3\n"
    )
