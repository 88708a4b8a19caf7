"""Encoded pairs → probabilities: each different pair once, each fault kept to its pair."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handler.batcher import MAX_BATCH_TOKENS, Batcher, EvenBatcher, ModelBatch, PackedBatcher, PaddedBatcher
from handler.checkpoint import Checkpoint
from handler.encoding import EncodedPair
from handler.errors import ConfigurationError, InferenceFailed

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

WARM_UP_SECONDS = 3.0
"""Time after which warm-up ends. Only large models reach it, whose large batches take so long that preparing
for their shape adds little."""

MEASURED_SECONDS = 0.2
"""Time for which the throughput is measured, or one model batch where that takes longer."""

MEASURED_POSITIONS = 1024
"""Largest size of the model batch by which the throughput is measured."""

CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""A container's CPU limit: microseconds of processor time, or `max`, in so many microseconds."""

Probabilities = NDArray[np.float64]
"""Shape [labels]; one pair's probabilities in the order of the checkpoint's labels."""

Result: TypeAlias = Probabilities | InferenceFailed
"""What the model gives for a pair: its probabilities, or why there are none."""


class Model(Protocol):
    """A loaded model: one forward pass."""

    packed: bool
    """Whether it reads what `handler.batcher.PackedBatcher` forms."""
    padded: bool
    """Else, whether it reads what `PaddedBatcher` forms, or only what `EvenBatcher` does."""

    def logits(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Logits of shape [..., labels]; inputs are named and shaped as the batcher says."""
        ...


@dataclass(frozen=True, slots=True)
class Inference:
    """The results of a number of pairs, and what went through the model for them."""

    results: list[Result]
    """One for each pair, in order."""
    tokens: int = 0
    """Number of tokens that went through the model, without padding; equal pairs count once."""
    padding: int = 0
    """Number of positions that went through the model and held nothing."""

    @classmethod
    def joined(cls, parts: Sequence[Inference]) -> Inference:
        """Several inferences as one."""
        return cls(
            [result for part in parts for result in part.results],
            sum(part.tokens for part in parts),
            sum(part.padding for part in parts),
        )


class Engine:
    """Turns any number of encoded pairs into probabilities, which do not depend on the rest of the batch."""

    def __init__(self, model: Model, batcher: Batcher) -> None:
        """Combine what computes with what forms its inputs."""
        self._model = model
        self._batcher = batcher

    def probabilities(self, pairs: Sequence[EncodedPair]) -> list[Result]:
        """The results of `infer`, for callers that count nothing."""
        return self.infer(pairs).results

    def infer(self, pairs: Sequence[EncodedPair]) -> Inference:
        """Compute the probabilities of each pair.

        Equal pairs are computed once. Where a model batch fails, or gives an answer that isn't finite, its
        pairs are tried one by one, so that only the pair at fault has no answer.
        """
        results: dict[EncodedPair, Result] = {}
        tokens = size = 0
        waiting = list(self._batcher.batches(list(dict.fromkeys(pairs))))
        while waiting:
            batch = waiting.pop()
            found = self._run(batch)
            tokens, size = tokens + batch.tokens, size + batch.size
            if len(batch.pairs) > 1 and any(isinstance(each, InferenceFailed) for each in found):
                # The fault may be another's: what isn't finite spreads over a packed row.
                waiting += [alone for pair in batch.pairs for alone in self._batcher.batches([pair])]
            else:
                results.update(zip(batch.pairs, found, strict=True))
        return Inference([results[pair] for pair in pairs], tokens, size - tokens)

    def warm_up(self) -> None:
        """Run a model batch of each shape, small ones first, so that no request is the first of its shape.

        Raises:
            ConfigurationError: the model gives no finite answer.
        """
        began = monotonic()
        for batch in self._batcher.examples():
            if any(isinstance(result, InferenceFailed) for result in self._run(batch)):
                raise ConfigurationError(
                    "the model gives no finite answer to the simplest pair: its weights are damaged; "
                    "convert the checkpoint again"
                )
            if monotonic() - began > WARM_UP_SECONDS:
                return

    def throughput(self) -> float:
        """Tokens per second in full model batches, measured for a moment; call `warm_up` before."""
        fitting = (batch for batch in self._batcher.examples() if batch.size <= MEASURED_POSITIONS)
        batch = max(fitting, key=lambda each: each.size)
        self._run(batch)  # as warm-up may have ended before this shape
        began, runs = monotonic(), 0
        while not runs or monotonic() - began < MEASURED_SECONDS:
            self._run(batch)
            runs += 1
        return runs * batch.tokens / (monotonic() - began)

    def _run(self, batch: ModelBatch) -> Sequence[Result]:
        """The results of one forward pass, in the order of the batch's pairs."""
        try:
            logits = self._model.logits(batch.inputs)
            return _softmax(logits.reshape(-1, logits.shape[-1])[batch.places].astype(np.float64))
        except Exception as error:
            # The message may quote the input, so only the kind of error is logged.
            logger.error("forward pass over %d pairs failed: %s", len(batch.pairs), type(error).__name__)
            return [InferenceFailed("the model failed on this pair")] * len(batch.pairs)


def load_engine(checkpoint: Checkpoint, device: torch.device, threads: int) -> Engine:
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
    return Engine(model, make_batcher(checkpoint, model.packed, model.padded))


def make_batcher(checkpoint: Checkpoint, packed: bool, padded: bool = True) -> Batcher:
    """The batcher for a checkpoint's model; see `Model.packed` and `Model.padded`."""
    batcher = PackedBatcher if packed else PaddedBatcher if padded else EvenBatcher
    return batcher(checkpoint.pad_token_id, MAX_BATCH_TOKENS, checkpoint.max_seq_length)


def threads_per_worker(configured: int, workers: int, small: bool) -> int:
    """Number of threads of one worker's forward pass.

    As configured, or one for a small model (`Checkpoint.small`), or the cores shared among the workers.
    """
    return configured or (1 if small else max(1, available_cores() // max(1, workers)))


def available_cores() -> int:
    """Number of cores that this process may use, by its affinity and by its container's limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_LIMIT.read_text(encoding="ascii").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return cores


def _softmax(logits: NDArray[np.float64]) -> list[Result]:
    with np.errstate(invalid="ignore"):  # infinities, which are refused below
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    finite = np.logical_and.reduce(np.isfinite(logits), axis=1)
    return [
        row if usable else InferenceFailed("the model's answer for this pair is not finite")
        for row, usable in zip(probabilities, finite, strict=True)
    ]
