"""The form of the demo model, its first weights, and how it is fed and measured."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor
from tqdm import tqdm
from transformers import BertConfig, BertForSequenceClassification

from handler.encoding import EncodedPair
from scripts.demo.demo_data import LABELS

MAX_SEQ_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every choice that makes the model what it is; the defaults made the one that ships."""

    vocabulary: int = 8000
    layers: int = 3
    width: int = 256
    heads: int = 4
    intermediate: int = 512
    dropout: float = 0.1
    held_out: int = 2000
    everyday: int = 8000
    """Made-up pairs of short everyday sentences."""
    edited: int = 8000
    """Made-up pairs of a real sentence and an edit of it."""
    company: float = 0.5
    """How much of the first word embeddings is the company that words keep; the rest is noise."""
    seed: int = 1
    epochs: int = 3
    batch: int = 64
    rate: float = 3e-4
    smoothing: float = 0.05
    average: float = 0.998
    """Decay of the running average of the weights."""

    @classmethod
    def quick(cls) -> Recipe:
        """A tiny model on a slice of the data: shows that everything works, and learns nothing."""
        return cls(
            vocabulary=600, layers=2, width=32, heads=2, intermediate=32, held_out=40, everyday=60, edited=60,
            epochs=2,
        )  # fmt: skip


def model_config(recipe: Recipe, vocabulary: int) -> BertConfig:
    """The config of a model of this recipe."""
    settings: dict[str, Any] = {
        "architectures": ["BertForSequenceClassification"],
        "vocab_size": vocabulary,
        "hidden_size": recipe.width,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "intermediate_size": recipe.intermediate,
        "hidden_dropout_prob": recipe.dropout,
        "attention_probs_dropout_prob": recipe.dropout,
        "max_position_embeddings": MAX_SEQ_LENGTH,
        "num_labels": len(LABELS),
    }
    return BertConfig(**settings)


def new_model(recipe: Recipe, embeddings: Tensor) -> BertForSequenceClassification:
    """A model with random weights in which a token attends to its like from the first step on.

    Plain random weights end near 40 % on as little data as this: that words of one sentence are to be sought
    in the other is never discovered. So queries and keys of the first two layers begin as the identity with
    some noise, and the word embeddings are a mixture of noise and `embeddings`, which knows what is alike.
    """
    torch.manual_seed(recipe.seed)
    model = BertForSequenceClassification(model_config(recipe, len(embeddings)))
    noise = torch.randn_like(embeddings) / math.sqrt(recipe.width)
    mixed = recipe.company * embeddings + math.sqrt(1 - recipe.company**2) * noise
    layers: Any = model.bert.encoder.layer
    with torch.no_grad():
        words = functional.normalize(mixed, dim=1) * math.sqrt(recipe.width) * 0.06
        words[0] = 0
        model.bert.embeddings.word_embeddings.weight.copy_(words)
        for layer in layers[:2]:
            for weight in (layer.attention.self.query.weight, layer.attention.self.key.weight):
                weight.mul_(0.3).add_(torch.eye(recipe.width))
    return model


def collate(pairs: Sequence[EncodedPair]) -> dict[str, Tensor]:
    """Pad pairs to the longest of them."""
    width = max(len(pair.input_ids) for pair in pairs)
    ids = torch.zeros(len(pairs), width, dtype=torch.long)
    types = torch.zeros_like(ids)
    mask = torch.zeros_like(ids)
    for row, pair in enumerate(pairs):
        length = len(pair.input_ids)
        ids[row, :length] = torch.tensor(pair.input_ids)
        types[row, :length] = torch.tensor(pair.token_type_ids)
        mask[row, :length] = 1
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}


def batches(pairs: Sequence[EncodedPair], size: int, rng: random.Random) -> Iterator[list[int]]:
    """Batches of pairs of like length, in random order."""
    order = list(range(len(pairs)))
    rng.shuffle(order)
    found = []
    for start in range(0, len(order), 32 * size):
        pool = sorted(order[start : start + 32 * size], key=lambda index: len(pairs[index].input_ids))
        found += [pool[at : at + size] for at in range(0, len(pool), size)]
    rng.shuffle(found)
    yield from found


@torch.no_grad()
def predict(model: BertForSequenceClassification, pairs: Sequence[EncodedPair], what: str) -> Tensor:
    """Logits of each pair."""
    model.train(False)
    logits = torch.zeros(len(pairs), len(LABELS))
    order = sorted(range(len(pairs)), key=lambda index: len(pairs[index].input_ids))
    for start in tqdm(range(0, len(order), 256), desc=what, leave=False, disable=None):
        part = order[start : start + 256]
        logits[part] = model(**collate([pairs[index] for index in part])).logits
    return logits


@dataclass(frozen=True, slots=True)
class Score:
    """How a model does on the held-out pairs."""

    loss: float
    accuracy: float
    confusion: list[list[int]]
    """One row a true label, one column an answer, both in the order of LABELS."""

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> Score:
        """Compare answers with labels."""
        answers = logits.argmax(1)
        confusion = torch.zeros(len(LABELS), len(LABELS), dtype=torch.long)
        confusion.index_put_((labels, answers), torch.ones_like(labels), accumulate=True)
        accuracy = (answers == labels).float().mean().item()
        return cls(functional.cross_entropy(logits, labels).item(), accuracy, confusion.tolist())
