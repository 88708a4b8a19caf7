"""Mosec around the service's engine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from mosec import Server, Worker

from scripts.bench.peers.classifier import BATCH, Classifier


class NliWorker(Worker):  # type: ignore[misc]
    """A worker; requests that are there within 1 ms are answered together."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = Classifier(Path(os.environ["PEER_MODEL"]))

    def forward(self, data: list[Any]) -> list[Any]:
        """Answer a batch."""
        return self.classifier.answer(data)


if __name__ == "__main__":
    model, port, workers = sys.argv[1:]
    os.environ |= {"PEER_MODEL": model, "MOSEC_PORT": port, "MOSEC_ADDRESS": "127.0.0.1"}
    del sys.argv[1:]  # it reads the command line itself
    server = Server()
    server.append_worker(NliWorker, num=int(workers), max_batch_size=BATCH, max_wait_time=1, timeout=60)
    server.run()
