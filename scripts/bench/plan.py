"""The plan of a benchmark, and starting what it compares."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from handler.checkpoint import Checkpoint
from handler.request import SentencePair
from scripts.bench.load import Measured, measure_load
from scripts.bench.targets import Target, bare_engine, peer
from scripts.torchserve.server import Ports, TorchServe
from scripts.torchserve.sizing import suitable_workers

PACKAGES = {"tutorial": "flask", "litserve": "litserve", "mosec": "mosec"}
"""Peers, modules of `scripts/bench/peers`, and the package that each needs."""

TUTORIAL = "tutorial (Flask)"


@dataclass(frozen=True, slots=True)
class Plan:
    """The comparison of one model in several precisions, served by this service and its peers."""

    checkpoint: Path
    """The converted checkpoint, for the tutorial's way."""
    archives: Sequence[Path]
    """Archives of that model; peers serve the content of the last one."""
    workers: Sequence[int] = ()
    """Numbers of workers that are compared; empty for the number that `scripts/serve` starts."""
    without: Sequence[str] = ()
    """Peers to leave out."""

    def start(
        self, scratch: Path, pairs: Sequence[SentencePair], stack: ExitStack
    ) -> tuple[list[Target], dict[str, float]]:
        """Start every target; also returns the seconds until this service was ready, by target.

        Raises:
            ServiceError: a target doesn't start.
        """
        targets: list[Target] = []
        ready: dict[str, float] = {}

        def add(name: str, url: str, pid: int, engine: str | None = None) -> None:
            def measure(clients: int, seconds: float) -> Measured:
                return measure_load(url, pairs, clients, seconds, pid)

            targets.append(Target(name, measure, engine))

        peers = self._installed_peers()
        if "tutorial" in peers:
            add(TUTORIAL, *stack.enter_context(peer("tutorial", self.checkpoint, 1, scratch)))
        for number, archive in enumerate(self.archives):
            folder = scratch / f"model{number}"
            shutil.unpack_archive(archive, folder, "zip")
            precision = Checkpoint.read(folder).precision
            engine = f"bare engine, {precision}"
            targets.append(bare_engine(folder, pairs, engine))
            for workers in self.workers or [suitable_workers(archive)]:
                how = f"{precision}, {workers} worker{'s' * (workers > 1)}"
                began = time.monotonic()
                served = TorchServe(scratch / f"ts{number}-{workers}", [archive], Ports.free(), workers)
                stack.enter_context(served)
                ready[f"this service, {how}"] = time.monotonic() - began
                # Java; the launcher above it is idle.
                frontend = psutil.Process(served.worker_pids()[0]).ppid()
                add(f"this service, {how}", f"{served.url}/predictions/nli", frontend, engine)
                if number + 1 == len(self.archives):
                    for each in sorted(peers - {"tutorial"}):
                        add(f"{each}, {how}", *stack.enter_context(peer(each, folder, workers, scratch)))
        return targets, ready

    def _installed_peers(self) -> set[str]:
        wanted = set(PACKAGES) - set(self.without)
        missing = {name for name in wanted if not importlib.util.find_spec(PACKAGES[name])}
        for name in sorted(missing):
            print(f"{name} is left out: scripts/setup bench", file=sys.stderr)
        return wanted - missing
