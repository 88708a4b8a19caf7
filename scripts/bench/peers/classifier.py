"""The service's own modules without TorchServe: the bare engine, and what the other servers wrap."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from handler.answer import ModelIdentity, describe_answer, make_answer
from handler.checkpoint import Checkpoint
from handler.encoding import PairEncoder
from handler.engine import load_engine, threads_per_worker
from handler.errors import InferenceFailed
from handler.request import SentencePair

BATCH = 16
"""Requests answered together by a peer, as in `config/model-config.yaml`."""


class Classifier:
    """The service's own modules, without TorchServe."""

    def __init__(self, folder: Path, as_worker: bool = False) -> None:
        """Load an unpacked archive, with every core or with the threads that a worker of the service has."""
        self.checkpoint = Checkpoint.read(folder)
        self.encoder = PairEncoder.from_folder(folder, self.checkpoint.max_seq_length)
        threads = threads_per_worker(0, 1, as_worker and self.checkpoint.small)
        self.engine = load_engine(self.checkpoint, torch.device("cpu"), threads)
        self.engine.warm_up()
        self._model = ModelIdentity(self.checkpoint.name, "nli", "1.0")

    def answer(self, requests: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answer requests of one pair each, together."""
        pairs = [SentencePair(request["premise"], request["hypothesis"]) for request in requests]
        encoded = self.encoder.encode(pairs)
        answers = []
        for pair, tokens, result in zip(pairs, encoded, self.engine.probabilities(encoded), strict=True):
            if isinstance(result, InferenceFailed):
                raise result
            made = make_answer(pair, self.checkpoint.labels, result, tokens.truncated)
            answers.append(describe_answer(made, self._model))
        return answers
