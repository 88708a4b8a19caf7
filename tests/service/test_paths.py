"""A project that lies in a path of any characters, and can't be written, serves all the same."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from scripts import PROJECT
from scripts.torchserve.ports import Ports
from tests.load import PAIR
from tests.service.serving import Service

ANY = "한글 이름, $HOME 100%d ${x} 'a' \"b\" \\n#?"


@pytest.fixture(scope="module")
def project(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A read-only copy of the project and of its environment, with a tiny demo model, behind a link."""
    folder = tmp_path_factory.mktemp("paths")
    real = folder / ANY / ("long" * 50) / "project"
    real.mkdir(parents=True)
    for name in ("handler", "scripts", "config"):
        shutil.copytree(PROJECT / name, real / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", real)
    shutil.copytree(tiny_checkpoint, real / "checkpoints" / "demo")
    (real / "model_store").mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(real / ".venv")], check=True)
    installed = Path(sysconfig.get_path("purelib"))
    (packages,) = (real / ".venv" / "lib").glob("python*/site-packages")
    # TorchServe itself in this path too; the other packages are only read from where they are.
    shutil.copytree(installed / "ts", packages / "ts")
    (packages / "project.pth").write_text(f"{real}\n{installed}\n", encoding="utf-8")
    modes = [path for path in [real, *real.rglob("*")] if path.is_dir() and not path.is_symlink()]
    for each in modes:
        each.chmod(0o555)
    link = folder / "연결 link"
    link.symlink_to(real)
    yield link
    for each in modes:
        each.chmod(0o755)


@pytest.fixture
def python(project: Path) -> Sequence[str]:
    """The environment's Python in a plain locale; root gives up its right to write everywhere."""
    command = ["env", "LANG=C", "LC_ALL=", "LC_CTYPE=", str(project / ".venv" / "bin" / "python")]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root can write everywhere; setpriv isn't installed")
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]
    return command


def test_the_default_folder_is_refused_in_one_line(project: Path, python: Sequence[str]) -> None:
    done = subprocess.run(
        [*python, project / "scripts" / "serve.py"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.endswith(
        "/.run can't be written (Permission denied); give another one with --folder\n"
    )
    assert done.stderr.count("\n") == 1


def test_it_serves_is_killed_and_comes_back(
    project: Path, python: Sequence[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run") / ANY / "실행"
    folder.parent.mkdir()
    service = Service(folder, python, project)
    free = Ports.free()
    service.ports = replace(service.ports, metrics=free.metrics, readiness=free.readiness)
    outside = [f"--{name}-address=0.0.0.0:{getattr(free, name)}" for name in ("metrics", "readiness")]
    try:
        service.start(*outside)
        assert requests.post(service.url, json=PAIR, timeout=30).status_code == 200
        # 127.0.0.2 is this machine too, but nobody who listens on 127.0.0.1 alone answers there.
        ready = requests.get(f"http://127.0.0.2:{free.readiness}/ready", timeout=5)
        assert (ready.status_code, ready.json()["ready"]) == (200, True)
        metrics = requests.get(f"http://127.0.0.2:{free.metrics}/metrics", timeout=5).text
        assert "ts_inference_requests_total" in metrics
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://127.0.0.2:{service.ports.management}/models", timeout=5)
        log = (folder / "logs" / "server.log").read_text(encoding="utf-8")
        assert log == ""  # a warning would be one about paths, or about the archive's creation time

        assert service.process
        service.process.kill()  # Java and its worker stay behind, known by their folder
        service.process.communicate()
        service.start(*outside)
        assert "bringing back the saved state" in service.said
        assert requests.post(service.url, json=PAIR, timeout=30).status_code == 200
        listed = service.manage("list")
        assert " ready " in listed.stdout, listed
        service.process.send_signal(signal.SIGTERM)
        service.process.communicate(timeout=120)
        assert service.process.returncode == 0
        assert service.processes() == []
    finally:
        service.end()
    assert not (project / ".run").exists()
    assert list((folder / "model_store").glob("*.mar"))
