"""A checkpoint that answers in this process, without a server."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from handler.checkpoint import Checkpoint
from handler.encoding import EncodedPair, PairEncoder
from handler.engine import available_cores, load_engine
from handler.errors import ConfigurationError, InferenceFailed
from handler.request import SentencePair


class LocalModel:
    """The service's encoder and engine for one checkpoint or unpacked archive, on the CPU."""

    def __init__(self, checkpoint: Checkpoint, threads: int | None = None) -> None:
        """Load it, with every core where `threads` doesn't say how many.

        Raises:
            ConfigurationError: it can't be loaded.
        """
        self.checkpoint = checkpoint
        self.encoder = PairEncoder.from_folder(checkpoint.folder, checkpoint.max_seq_length)
        self.engine = load_engine(checkpoint, torch.device("cpu"), threads or available_cores())

    def encode(self, pairs: Sequence[SentencePair]) -> list[EncodedPair]:
        """The tokens of each pair."""
        return self.encoder.encode(pairs)

    def probabilities(self, pairs: Sequence[SentencePair]) -> NDArray[np.float64]:
        """Shape [pairs, labels].

        Raises:
            ConfigurationError: the model fails on a pair.
        """
        rows = []
        for result in self.engine.probabilities(self.encode(pairs)):
            if isinstance(result, InferenceFailed):
                raise ConfigurationError(f"{self.checkpoint.folder}: {result}")
            rows.append(result)
        return np.stack(rows)
