"""Archives on servers that are not ours, and a server with more work than it can queue."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path

import pytest
import requests

from scripts.torchserve.server import Ports, TorchServe
from tests.processes import suspended
from tests.service.test_answers import GOOD


@pytest.fixture(scope="module")
def foreign_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the pinned packages that has never seen this repository."""
    folder = tmp_path_factory.mktemp("foreign")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    # A path in a .pth file is added as it is; the .pth file there, which names the repository, is not read.
    packages = sysconfig.get_path("purelib")
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "packages.pth").write_text(f"{packages}\n", encoding="utf-8")
    return folder / "bin" / "python"


def test_an_archive_brings_all_that_it_needs(
    foreign_python: Path, tiny_archive: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    absent = [str(foreign_python), "-c", "import handler"]
    assert subprocess.run(absent, capture_output=True, check=False).returncode == 1
    with TorchServe(tmp_path / "ts", [tiny_archive], Ports.free(), python=foreign_python) as server:
        answer = requests.post(f"{server.url}/predictions/nli", json=GOOD, timeout=60)
    assert answer.json() == requests.post(url, json=GOOD, timeout=60).json()


def test_a_full_queue_refuses_at_once(tiny_archive: Path, tmp_path: Path) -> None:
    settings = {"job_queue_size": "4"}
    server = TorchServe(tmp_path / "ts", [tiny_archive], Ports.free(), workers=1, settings=settings)
    with server, ThreadPoolExecutor(128) as pool:

        def ask() -> int:
            return requests.post(f"{server.url}/predictions/nli", json=GOOD, timeout=120).status_code

        with suspended(*server.worker_pids()):
            asked = [pool.submit(ask) for _ in range(128)]
            # All but a batch of 32 and the queue, which have to wait for the worker.
            refused = [each.result() for each in islice(as_completed(asked, timeout=60), 128 - 32 - 4)]
            assert set(refused) == {503}
        assert {each.result() for each in asked} == {200, 503}
        assert ask() == 200
