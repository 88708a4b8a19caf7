"""Encoded pairs → probabilities: each different pair once, each fault kept to its pair."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from handler.checkpoint import Checkpoint
from handler.encoding import EncodedPair
from handler.errors import ConfigurationError, InferenceFailed
from handler.layout import Layout, Packed, Padded, Pass
from handler.settings import MAX_BATCH_TOKENS

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

WARM_UP_SECONDS = 3.0
"""When warm-up ends at the latest. Only large models get there, whose large passes take so long themselves
that preparing for them adds little."""

Probabilities = NDArray[np.float64]
"""Shape [labels]; one pair's probabilities in the order of the checkpoint's labels."""


class Model(Protocol):
    """A loaded model: one forward pass."""

    packed: bool
    """Whether it reads what `handler.layout.Packed` lays out, or what `handler.layout.Padded` does."""

    def logits(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Inputs are named and shaped as the layout says; returns logits of shape [..., labels]."""
        ...


class Engine:
    """Turns any number of encoded pairs into probabilities, whoever they share the batch with."""

    def __init__(self, model: Model, layout: Layout) -> None:
        """Take over what computes, and what lays out its inputs."""
        self._model = model
        self._layout = layout
        self.tokens = 0
        """That went through the model so far, padding apart."""
        self.padding = 0
        """Positions that went through the model so far and held nothing."""

    def probabilities(self, pairs: Sequence[EncodedPair]) -> list[Probabilities | InferenceFailed]:
        """The probabilities of each pair, in order, or why there are none.

        Equal pairs are computed once. Where a pass fails, or gives an answer that isn't finite, its pairs are
        tried one by one, so that only the pair at fault has no answer.
        """
        results: dict[EncodedPair, Probabilities | InferenceFailed] = {}
        for each in self._layout.passes(list(dict.fromkeys(pairs))):
            results.update(zip(each.pairs, self._run(each), strict=True))
        return [results[pair] for pair in pairs]

    def warm_up(self) -> None:
        """Run a pass of each shape, small ones first, so that no user's request is the first of its shape.

        Raises:
            ConfigurationError: the model gives no finite answer.
        """
        began = monotonic()
        for each in self._layout.examples():
            if any(isinstance(result, InferenceFailed) for result in self._run(each)):
                raise ConfigurationError("the model gives no finite answer to the first, simplest pair")
            if monotonic() - began > WARM_UP_SECONDS:
                return

    def _run(self, each: Pass) -> list[Probabilities | InferenceFailed]:
        tokens = each.tokens
        self.tokens += tokens
        self.padding += each.size - tokens
        try:
            logits = self._model.logits(each.inputs)
        except Exception as error:
            # The message may quote the input, so only the kind of error is logged.
            logger.error("forward pass over %d pairs failed: %s", len(each.pairs), type(error).__name__)
            results: list[Probabilities | InferenceFailed] = [
                InferenceFailed("the model failed on this pair") for _ in each.pairs
            ]
        else:
            results = _softmax(logits.reshape(-1, logits.shape[-1])[each.places].astype(np.float64))
        if len(each.pairs) > 1 and any(isinstance(result, InferenceFailed) for result in results):
            # The fault may be another's: what isn't finite spreads over a packed row.
            alone = [one for pair in each.pairs for one in self._layout.passes([pair])]
            return [result for one in alone for result in self._run(one)]
        return results


def load_engine(
    checkpoint: Checkpoint, device: torch.device, threads: int, max_batch_tokens: int = MAX_BATCH_TOKENS
) -> Engine:
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
    return Engine(model, make_layout(checkpoint, model.packed, max_batch_tokens))


def make_layout(checkpoint: Checkpoint, packed: bool, max_batch_tokens: int = MAX_BATCH_TOKENS) -> Layout:
    """How pairs are laid out for a checkpoint's model; see `Model.packed`."""
    layout = Packed if packed else Padded
    return layout(checkpoint.pad_token_id, max_batch_tokens, checkpoint.max_seq_length)


def threads_per_worker(configured: int, workers: int, small: bool) -> int:
    """Threads of one worker's forward pass.

    As configured, or one for a small model (`Checkpoint.small`), or the cores shared among the workers.
    """
    return configured or (1 if small else max(1, available_cores() // max(1, workers)))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _softmax(logits: NDArray[np.float64]) -> list[Probabilities | InferenceFailed]:
    with np.errstate(invalid="ignore"):  # infinities, which are refused below
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    finite = np.logical_and.reduce(np.isfinite(logits), axis=1)
    return [
        row if usable else InferenceFailed("the model's answer for this pair is not finite")
        for row, usable in zip(probabilities, finite, strict=True)
    ]
