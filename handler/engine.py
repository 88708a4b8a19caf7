"""Encoded pairs → probabilities: micro-batches of similar length, each fault kept to its pair."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification
from transformers.utils.logging import disable_progress_bar

from handler.checkpoint import Checkpoint
from handler.encoding import EncodedPair
from handler.errors import ConfigurationError, InferenceFailed

logger = logging.getLogger(__name__)

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


class TorchModel:
    """The checkpoint in PyTorch, float32 on the CPU or on one GPU: it answers as the original system does."""

    def __init__(self, folder: Path, device: torch.device, threads: int) -> None:
        """Load the weights.

        Raises:
            ConfigurationError: weights are missing or don't fit `config.json`.
        """
        disable_progress_bar()  # type: ignore[no-untyped-call]  # a worker's stderr is a log
        torch.set_num_threads(threads)
        try:
            model, report = AutoModelForSequenceClassification.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            reason = str(error).split("\n")[0]
            raise ConfigurationError(f"the model in {folder} can't be loaded: {reason}") from None
        # transformers would go on with random numbers in place of what is missing.
        faults = [
            f"{kind.replace('_', ' ')} {', '.join(sorted(keys))}" for kind, keys in report.items() if keys
        ]
        if faults:
            raise ConfigurationError(f"the weights in {folder} don't fit its config: {'; '.join(faults)}")
        self._model = model.to(device).eval()
        self._device = device
        # RoBERTa and others have a table of one type, which no id but 0 may look up.
        self._has_token_types = getattr(model.config, "type_vocab_size", 0) > 1

    @torch.inference_mode()
    def logits(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """One forward pass; see `Model.logits`."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self._has_token_types:
            inputs["token_type_ids"] = token_type_ids
        tensors = {name: torch.from_numpy(array).to(self._device) for name, array in inputs.items()}
        output: NDArray[np.float32] = self._model(**tensors).logits.cpu().numpy()
        return output


class Engine:
    """Turns any number of encoded pairs into probabilities, whoever they share the batch with."""

    def __init__(self, model: Model, pad_token_id: int, max_batch_tokens: int) -> None:
        """`max_batch_tokens` bounds a forward pass, padding included, unless one pair alone is longer."""
        self._model = model
        self._pad_token_id = pad_token_id
        self._max_batch_tokens = max_batch_tokens
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

    def warm_up(self, pairs: int, tokens: int) -> None:
        """Run a batch of 1, 2, 4, … up to `pairs` pairs, so that no user's request is the first.

        Raises:
            ConfigurationError: the model gives no finite answer.
        """
        size = 1
        while size <= pairs:
            batch = [EncodedPair(tuple([self._pad_token_id] * tokens), tuple([0] * tokens), False)] * size
            if any(isinstance(result, InferenceFailed) for result in self._run(batch)):
                raise ConfigurationError("the model gives no finite answer to the first, simplest pair")
            size *= 2

    def _micro_batches(self, pairs: list[EncodedPair]) -> Iterator[list[EncodedPair]]:
        """Cut pairs, longest first, into batches whose padded size stays within the token budget."""
        ordered = sorted(pairs, key=lambda pair: len(pair.input_ids), reverse=True)
        start = 0
        while start < len(ordered):
            size = max(1, self._max_batch_tokens // len(ordered[start].input_ids))
            yield ordered[start : start + size]
            start += size

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
        """Input ids, attention mask and token types of shape [pairs, longest of the batch]."""
        shape = len(batch), max(len(pair.input_ids) for pair in batch)
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
    """Load a checkpoint's model.

    Raises:
        ConfigurationError: see `TorchModel`.
    """
    return Engine(TorchModel(checkpoint.folder, device, threads), checkpoint.pad_token_id, max_batch_tokens)


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
