"""Runs of scripts/classify_many.py that are watched, and the rows that they should write."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import psutil

from scripts import PROJECT
from scripts.bulk.cluster import set_ray_environment

LABELS = ["entailment", "contradiction", "neutral"]
SECRET = "비밀문장"
"""In the texts of some rows; must be in no log."""

PATIENCE = 600.0
"""Seconds for whatever is waited for: another load on the machine is no fault."""


def texts(number: int) -> tuple[str | None, str]:
    """The texts of a row: a few words of its own, or a fault."""
    if number % 101 == 7:
        return (None if number % 2 else " "), "비가 온다."
    word = SECRET if number % 97 == 5 else "날씨"
    return f"{number}번 {word} 맑다.", f"{number % 13}일에 비가 {'온다' if number % 3 else '안 온다'}."


def write_input(folder: Path, files: int, rows: int, groups: int = 3) -> int:
    """Write Parquet files of equally many rows in several row groups; returns the number of all rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    for file in range(files):
        numbers = range(file * rows, (file + 1) * rows)
        columns = [texts(number) for number in numbers]
        table = pa.table(
            {
                "id": list(numbers),
                "premise": pa.array([premise for premise, _ in columns], pa.string()),
                "hypothesis": [hypothesis for _, hypothesis in columns],
                "score": [float("nan")] * rows,
            }
        )
        pq.write_table(table, folder / f"{file:04}.parquet", row_group_size=-(-rows // groups))
    return files * rows


def read_output(folder: Path) -> list[dict[str, Any]]:
    """All rows of an output, by what a user would read it with."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(folder / "parts").to_pylist()
    return rows


def parts(folder: Path) -> int:
    """Number of finished files."""
    return len(list((folder / "parts").glob("*.parquet")))


class BulkRun:
    """A process of the verb and all that Ray starts for it; whatever is left of them is killed in the end."""

    def __init__(self, logs: Path, *arguments: str | Path, folder: Path | None = None) -> None:
        command = [sys.executable, str(PROJECT / "scripts" / "classify_many.py"), *map(str, arguments)]
        self._log = logs.open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=folder,
            env=os.environ | {"HOME": str(logs.parent)},
        )
        self._seen: dict[int, psutil.Process] = {}
        self.cpu: dict[int, float] = {}
        self.memory: dict[int, list[int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self.watch(), *self._seen.values()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        self._log.close()

    def watch(self) -> list[psutil.Process]:
        """Processes under the verb's; remembers them, and what the actors among them have used."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in psutil.Process(self.process.pid).children(recursive=True):
                self._seen[each.pid] = each
        for each in self.actors():
            with contextlib.suppress(psutil.NoSuchProcess):
                self.cpu[each.pid] = sum(each.cpu_times()[:2])
                self.memory.setdefault(each.pid, []).append(each.memory_info().rss)
        return [each for each in self._seen.values() if each.is_running()]

    def actors(self) -> list[psutil.Process]:
        """The actors that are at work."""
        found = []
        for each in self._seen.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                if each.is_running() and each.cmdline()[:1] == ["ray::Classifier.classify"]:
                    found.append(each)
        return found

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something while the verb runs."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"ended before {what}: {self.said()}"
            assert time.monotonic() < end, f"no {what}: {self.said()}"
            self.watch()
            time.sleep(0.05)

    def finish(self, timeout: float = PATIENCE) -> tuple[int, str, str]:
        """Wait for the end: exit code, stdout and stderr."""
        end = time.monotonic() + timeout
        while self.process.poll() is None and time.monotonic() < end:
            self.watch()
            time.sleep(0.2)
        assert self.process.poll() is not None, f"hangs: {self.said()}"
        assert self.process.stdout
        return self.process.returncode, self.process.stdout.read(), self.said()

    def said(self) -> str:
        """What it wrote to stderr."""
        self._log.flush()
        self._log.seek(0)
        return self._log.read()

    def kill(self) -> None:
        """Kill the verb alone; no actor may outlive it. Ray's agents take a while, which is nobody's harm."""
        self.watch()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        end = time.monotonic() + 60
        while self.actors():
            assert time.monotonic() < end, "an actor is left behind"
            time.sleep(0.1)


@contextlib.contextmanager
def ray_folder() -> Iterator[Path]:
    """A folder for what Ray writes, of a short path, as sockets lie in it; the environment names it."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    before = os.environ.copy()
    os.environ["RAY_TMPDIR"] = str(folder)
    try:
        yield folder
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def two_nodes() -> Iterator[tuple[str, Callable[[], None]]]:
    """A cluster of two nodes: its address, and a function that ends the second one."""
    set_ray_environment(own=True)
    command = [sys.executable, "-m", "tests.service.ray_nodes"]
    cluster = subprocess.Popen(
        command,
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert cluster.stdin
    assert cluster.stdout
    nodes: list[psutil.Process] = []

    def lose() -> None:
        assert cluster.stdin
        assert cluster.stdout
        cluster.stdin.write("lose\n")
        cluster.stdin.flush()
        assert cluster.stdout.readline() == "lost\n"

    try:
        address = cluster.stdout.readline().strip()
        assert address, "the cluster started"
        nodes = psutil.Process(cluster.pid).children(recursive=True)
        yield address, lose
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            nodes += psutil.Process(cluster.pid).children(recursive=True)
        cluster.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            cluster.wait(60)
        cluster.kill()
        cluster.stdout.close()
        cluster.wait()
        for each in nodes:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
