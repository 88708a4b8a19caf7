"""A checkpoint of KcBERT's shape with random weights, to measure speed and memory with."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification

from handler.errors import ConfigurationError
from scripts.model.conversion import convert_checkpoint
from scripts.model.labels import TUTORIAL_LABELS

SHAPE = {
    "vocab_size": 30_000,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 300,
}
"""The shape in `config.json` of beomi/kcbert-base."""

INITIALIZER_RANGE = 0.05
"""More than BERT's 0.02, with which an untrained model gives every pair the same answer."""


def make_full_size(texts: Iterable[str], output: Path, shape: Mapping[str, int] = SHAPE) -> Path:
    """Write the checkpoint; its vocabulary is learnt from `texts`, so that they have as few tokens as usual.

    Raises:
        ConfigurationError: `output` exists.
    """
    if output.exists():
        raise ConfigurationError(f"{output} exists already")
    tokenizer = BertWordPieceTokenizer(lowercase=False)
    size = shape["vocab_size"]
    tokenizer.train_from_iterator(
        iter(texts), size, min_frequency=0, limit_alphabet=size, show_progress=sys.stderr.isatty()
    )
    torch.manual_seed(0)
    labels = dict(enumerate(TUTORIAL_LABELS))
    config = BertConfig.from_dict({**shape, "initializer_range": INITIALIZER_RANGE, "id2label": labels})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer.save_model(name)
        (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}', encoding="utf-8")
        BertForSequenceClassification(config).save_pretrained(folder)
        return convert_checkpoint(folder / "model.safetensors", None, output)
