"""A model in the form that is served against the same model in PyTorch, pair by pair."""

from __future__ import annotations

import inspect
import random
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from handler.checkpoint import Checkpoint
from handler.encoding import EncodedPair, PairEncoder
from handler.engine import Engine, Model, make_batcher
from handler.errors import ConfigurationError

TOLERANCE = 1e-5
"""How far a probability may be from PyTorch's, of the pair alone and without padding."""

LENGTHS = (2, 3, 5, 8, 9, 13, 20, 21, 34, 47)
"""Tokens of both texts in the pairs that are compared, beside the most that fit."""


def sample_pairs(checkpoint: Checkpoint, model: PreTrainedModel) -> list[EncodedPair]:
    """Pairs of random tokens, of many lengths, laid out as the checkpoint's tokenizer does."""
    encoder = PairEncoder.from_folder(checkpoint.folder, checkpoint.max_seq_length)
    words = [number for number in range(model.config.vocab_size) if number != checkpoint.pad_token_id]
    chance = random.Random(0)
    lengths = [length for length in LENGTHS if length < encoder.budget] + [encoder.budget, encoder.budget]
    return [
        encoder.join(chance.choices(words, k=length // 2), chance.choices(words, k=length - length // 2))
        for length in lengths
    ]


@torch.inference_mode()
def reference(model: PreTrainedModel, pairs: Sequence[EncodedPair]) -> NDArray[np.float64]:
    """Probabilities of each pair alone, as transformers computes them from what its tokenizer gives."""
    typed = "token_type_ids" in inspect.signature(model.forward).parameters
    types = getattr(model.config, "type_vocab_size", None)
    rows = []
    for pair in pairs:
        inputs = {"input_ids": torch.tensor([pair.input_ids])}
        if typed and (types is None or max(pair.token_type_ids) < max(types, 1)):
            inputs["token_type_ids"] = torch.tensor([pair.token_type_ids])
        rows.append(model(**inputs).logits[0].double().softmax(0).numpy())
    return np.array(rows)


def difference(
    checkpoint: Checkpoint, model: Model, pairs: Sequence[EncodedPair], expected: NDArray[np.float64]
) -> float:
    """The largest difference of a probability, over each pair alone and all of them together.

    Raises:
        ConfigurationError: a pair has no answer.
    """
    engine = Engine(model, make_batcher(checkpoint, model.packed, model.padded))
    worst = 0.0
    for batch in (*([pair] for pair in pairs), list(pairs), list(reversed(pairs[: len(pairs) // 2]))):
        for pair, found in zip(batch, engine.probabilities(batch), strict=True):
            if isinstance(found, Exception):
                raise ConfigurationError(f"of a pair of {len(pair.input_ids)} tokens, {found}")
            worst = max(worst, float(np.abs(found - expected[pairs.index(pair)]).max()))
    return worst
