"""A checkpoint of KcBERT's shape with random weights, to measure speed and memory with."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.trainers import WordPieceTrainer
from transformers import BertConfig, BertForSequenceClassification

from handler.checkpoint import SECTION
from handler.errors import ConfigurationError
from scripts import PROJECT
from scripts.model.labels import TUTORIAL_LABELS
from scripts.model.weights import sha256_of

DEMO = PROJECT / "checkpoints" / "demo"
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
    tokenizer = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = WordPieceTrainer(
        vocab_size=shape["vocab_size"], special_tokens=special, show_progress=sys.stderr.isatty()
    )
    tokenizer.train_from_iterator(texts, trainer)
    torch.manual_seed(0)
    id2label = dict(enumerate(TUTORIAL_LABELS))
    config = BertConfig.from_dict(
        {
            **shape,
            "initializer_range": INITIALIZER_RANGE,
            "id2label": id2label,
            "label2id": {label: index for index, label in id2label.items()},
        }
    )
    model = BertForSequenceClassification(config)
    model.save_pretrained(output)
    tokenizer.save(str(output / "tokenizer.json"))
    (output / "tokenizer_config.json").write_bytes((DEMO / "tokenizer_config.json").read_bytes())
    section = {
        "name": "full-size",
        "source": "random weights",
        "source_sha256": sha256_of(output / "model.safetensors"),
        "max_seq_length": 64,
    }
    setattr(model.config, SECTION, section)
    model.config.save_pretrained(output)
    return output
