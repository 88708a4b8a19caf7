"""Encoded pairs → probabilities: micro-batches of similar length, each fault kept to its pair."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from handler.checkpoint import Checkpoint
from handler.encoding import EncodedPair
from handler.errors import ConfigurationError, InferenceFailed

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

LENGTH_STEP = 4
"""Tokens; passes have a multiple of it. A runtime prepares itself for each new shape, which takes longer
than these few positions, and with steps and powers of two there are few shapes."""

PASS_TOKENS = 32
"""What a pass costs however small it is, in tokens, about; less padding is no reason for another pass."""

WARM_UP_SECONDS = 3.0
"""When warm-up ends at the latest. Only large models get there, whose large passes take so long themselves
that preparing for them adds little."""

Probabilities = NDArray[np.float64]
"""Shape [labels]; one pair's probabilities in the order of the checkpoint's labels."""


class Model(Protocol):
    """A loaded model: one forward pass over a padded micro-batch."""

    def logits(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Inputs have shape [pairs, tokens]; returns logits of shape [pairs, labels]."""
        ...


class Engine:
    """Turns any number of encoded pairs into probabilities, whoever they share the batch with."""

    def __init__(
        self, model: Model, pad_token_id: int, max_batch_tokens: int, max_seq_length: int = 512
    ) -> None:
        """Bound what one forward pass holds.

        Args:
            model: what computes.
            pad_token_id: what fills up shorter pairs.
            max_batch_tokens: in a pass, padding included, unless one pair alone is longer.
            max_seq_length: of a pair; the model may have no positions beyond.
        """
        self._model = model
        self._pad_token_id = pad_token_id
        self._max_batch_tokens = max_batch_tokens
        self._max_seq_length = max_seq_length
        self.tokens = 0
        """That went through the model so far, padding apart."""
        self.padding = 0
        """Positions that went through the model so far and held nothing."""

    def probabilities(self, pairs: Sequence[EncodedPair]) -> list[Probabilities | InferenceFailed]:
        """The probabilities of each pair, in order, or why there are none.

        Equal pairs are computed once. Where a micro-batch fails, its pairs are tried one by one, so that
        only the pair at fault has no answer.
        """
        unique = list(dict.fromkeys(pairs))
        results: dict[EncodedPair, Probabilities | InferenceFailed] = {}
        for batch in self._micro_batches(unique):
            results.update(zip(batch, self._run(batch), strict=True))
        return [results[pair] for pair in pairs]

    def warm_up(self) -> None:
        """Run a pass of each shape, small ones first, so that no user's request is the first of its shape.

        Raises:
            ConfigurationError: the model gives no finite answer.
        """
        began = monotonic()
        for size, length in self._shapes():
            batch = [EncodedPair((self._pad_token_id,) * length, (0,) * length, False)] * size
            if any(isinstance(result, InferenceFailed) for result in self._run(batch)):
                raise ConfigurationError("the model gives no finite answer to the first, simplest pair")
            if monotonic() - began > WARM_UP_SECONDS:
                return

    def _shapes(self) -> Iterator[tuple[int, int]]:
        """Every shape that a pass can have, by number of pairs."""
        lengths = sorted({self._padded(length) for length in range(1, self._max_seq_length + 1)})
        size = 1
        while size == 1 or size * lengths[0] <= self._max_batch_tokens:
            for length in lengths:
                if size == 1 or size * length <= self._max_batch_tokens:
                    yield size, length
            size *= 2

    def _micro_batches(self, pairs: list[EncodedPair]) -> Iterator[list[EncodedPair]]:
        """Cut pairs, longest first, into passes of 1, 2, 4, … pairs.

        A pass grows while its padded size stays within the token budget, and while what growing adds in
        padding is less than what another pass would cost.
        """
        ordered = sorted(pairs, key=lambda pair: len(pair.input_ids), reverse=True)
        lengths = [self._padded(len(pair.input_ids)) for pair in ordered]
        start = 0
        while start < len(ordered):
            longest, size = lengths[start], 1
            while (
                start + 2 * size <= len(ordered)
                and 2 * size * longest <= self._max_batch_tokens
                and size * longest - sum(lengths[start + size : start + 2 * size]) <= PASS_TOKENS
            ):
                size *= 2
            yield ordered[start : start + size]
            start += size

    def _padded(self, length: int) -> int:
        """The length of a pass whose longest pair has `length` tokens."""
        return max(length, min(-(-length // LENGTH_STEP) * LENGTH_STEP, self._max_seq_length))

    def _run(self, batch: list[EncodedPair]) -> list[Probabilities | InferenceFailed]:
        try:
            logits = self._model.logits(*self._pad(batch))
        except Exception as error:
            # The message may quote the input, so only the kind of error is logged.
            logger.error("forward pass over %d pairs failed: %s", len(batch), type(error).__name__)
            if len(batch) == 1:
                return [InferenceFailed("the model failed on this pair")]
            return [result for pair in batch for result in self._run([pair])]
        return [_softmax(row) for row in logits.astype(np.float64)]

    def _pad(
        self, batch: list[EncodedPair]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Input ids, attention mask and token types of shape [pairs, longest of the batch, rounded up]."""
        shape = len(batch), self._padded(max(len(pair.input_ids) for pair in batch))
        input_ids = np.full(shape, self._pad_token_id, dtype=np.int64)
        attention_mask = np.zeros(shape, dtype=np.int64)
        token_type_ids = np.zeros(shape, dtype=np.int64)
        for row, pair in enumerate(batch):
            length = len(pair.input_ids)
            input_ids[row, :length] = pair.input_ids
            attention_mask[row, :length] = 1
            token_type_ids[row, :length] = pair.token_type_ids
        tokens = sum(len(pair.input_ids) for pair in batch)
        self.tokens += tokens
        self.padding += input_ids.size - tokens
        return input_ids, attention_mask, token_type_ids


def load_engine(checkpoint: Checkpoint, device: torch.device, threads: int, max_batch_tokens: int) -> Engine:
    """Load a model into the runtime that its precision asks for.

    A converted checkpoint runs in PyTorch, an archive of precision fp16 in PyTorch on the GPU; archives of
    the other precisions hold a graph for OpenVINO, which runs on the CPU whatever `device` says.

    Raises:
        ConfigurationError: weights are missing or don't fit.
    """
    model: Model
    # Each runtime takes a second to import and a hundred megabytes; a worker needs one.
    if checkpoint.precision in {None, "fp16"}:
        from handler.torch_model import TorchModel

        model = TorchModel(checkpoint.folder, device, threads, half=checkpoint.precision == "fp16")
    else:
        from handler.openvino_model import OpenVinoModel

        model = OpenVinoModel(checkpoint.folder, checkpoint.precision, threads)
    return Engine(model, checkpoint.pad_token_id, max_batch_tokens, checkpoint.max_seq_length)


def threads_per_worker(configured: int, workers: int) -> int:
    """Threads of one worker's forward pass: as configured, or the cores shared among the workers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return configured or max(1, cores // max(1, workers))


def _softmax(logits: NDArray[np.float64]) -> Probabilities | InferenceFailed:
    if not np.isfinite(logits).all():
        return InferenceFailed("the model's answer for this pair is not finite")
    exponentials = np.exp(logits - logits.max())
    result: Probabilities = exponentials / exponentials.sum()
    return result
