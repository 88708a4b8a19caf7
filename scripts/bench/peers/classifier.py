"""The service's own modules without TorchServe, which the other servers wrap."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handler.answer import ModelIdentity, describe_answer, make_answer
from handler.checkpoint import Checkpoint
from handler.engine import threads_per_worker
from handler.errors import InferenceFailed
from handler.request import SentencePair
from scripts.pairs.local_model import LocalModel

BATCH = 16
"""Requests answered together by a peer, as in `config/model-config.yaml`."""


class Classifier:
    """A worker's model, with the threads that a worker of the service has."""

    def __init__(self, folder: Path) -> None:
        """Load an unpacked archive."""
        self.checkpoint = Checkpoint.read(folder)
        self.model = LocalModel(self.checkpoint, threads_per_worker(0, 1, self.checkpoint.small))
        self.model.engine.warm_up()
        self._identity = ModelIdentity(self.checkpoint.name, "nli", "1.0")

    def answer(self, requests: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answer requests of one pair each, together."""
        pairs = [SentencePair(request["premise"], request["hypothesis"]) for request in requests]
        encoded = self.model.encode(pairs)
        answers = []
        for pair, tokens, result in zip(
            pairs, encoded, self.model.engine.probabilities(encoded), strict=True
        ):
            if isinstance(result, InferenceFailed):
                raise result
            made = make_answer(pair, self.checkpoint.labels, result, tokens.truncated)
            answers.append(describe_answer(made, self._identity))
        return answers
