"""LitServe around the service's engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from litserve import LitAPI, LitServer

from scripts.bench.peers.classifier import BATCH, Classifier


class Api(LitAPI):  # type: ignore[misc]
    """A worker; requests that are there within 1 ms are answered together."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load the model in the worker's process."""
        self.classifier = Classifier(Path(sys.argv[1]))

    def predict(self, inputs: list[Any]) -> list[Any]:
        """Answer a batch."""
        return self.classifier.answer(inputs)


if __name__ == "__main__":
    api = Api(max_batch_size=BATCH, batch_timeout=0.001)
    server = LitServer(api, accelerator="cpu", workers_per_device=int(sys.argv[3]))
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
