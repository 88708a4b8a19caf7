"""Mosec around the service's engine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from mosec import Server, Worker

from scripts.peers.classifier import BATCH, Classifier


class NliWorker(Worker):  # type: ignore[misc]
    """One worker; requests that are there within 1 ms are answered together."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = Classifier(Path(os.environ["PEER_MODEL"]))

    def forward(self, data: list[Any]) -> list[Any]:
        """Answer a batch."""
        return self.classifier.answer(data)


if __name__ == "__main__":
    os.environ |= {"PEER_MODEL": sys.argv[1], "MOSEC_PORT": sys.argv[2], "MOSEC_ADDRESS": "127.0.0.1"}
    del sys.argv[1:]  # it reads the command line itself
    server = Server()
    server.append_worker(NliWorker, num=1, max_batch_size=BATCH, max_wait_time=1, timeout=60)
    server.run()
