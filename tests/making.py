"""Small examples of what a user brings: a pretrained folder, and a fine-tuned Lightning checkpoint."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification

from handler.checkpoint import Checkpoint
from handler.request import SentencePair
from scripts.model.archive import MODEL_CONFIG
from scripts.pairs.local_model import LocalModel

SYLLABLES = "가나다라마바사아자차카타파하그는이을를의에서고도만한지않았다없있요니까남자여비가온날씨맑책읽"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?[]<>()'\"/-"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY += [
    prefix + sign for prefix in ("", "##") for sign in dict.fromkeys(SYLLABLES + LETTERS)
]  # every sign alone and as a continuation, so that most Korean text has word pieces

MODEL_CHECKPOINT = "pytorch_lightning.callbacks.model_checkpoint"


TINY_SHAPE: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
    "pad_token_id": 0,
}


def write_pretrained(folder: Path, **changes: Any) -> Path:
    """Write config, vocabulary and tokenizer settings of a tiny BERT that has no labels yet."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        **TINY_SHAPE,
    } | changes
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}', encoding="utf-8")
    return folder


def random_weights(pretrained: Path, seed: int = 0, labels: int = 3) -> dict[str, Tensor]:
    """Weights of a classifier fine-tuned from `pretrained`, spread so that answers differ."""
    torch.manual_seed(seed)
    config = BertConfig.from_pretrained(pretrained, num_labels=labels, initializer_range=0.3)
    return dict(BertForSequenceClassification(config).state_dict())


def write_lightning_checkpoint(file: Path, weights: Mapping[str, Tensor], **changes: Any) -> Path:
    """Save weights as PyTorch Lightning 1.3 does: prefixed, beside optimizer state and a callback's class."""
    state = {f"model.{name}": value for name, value in weights.items()}
    state["model.bert.embeddings.position_ids"] = torch.arange(80)[None]
    module = types.ModuleType(MODEL_CHECKPOINT)
    callback = type("ModelCheckpoint", (), {"__module__": MODEL_CHECKPOINT})
    module.ModelCheckpoint = callback  # type: ignore[attr-defined]
    names = ["pytorch_lightning", "pytorch_lightning.callbacks", MODEL_CHECKPOINT]
    sys.modules.update(dict.fromkeys(names, module))
    try:
        content = {
            "epoch": 1,
            "global_step": 10,
            "pytorch-lightning_version": "1.3.4",
            "state_dict": state,
            "callbacks": {callback: {"best_model_score": torch.tensor(0.5)}},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(4)}}}],
            "lr_schedulers": [],
        } | changes
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, file)
    finally:
        for name in names:
            sys.modules.pop(name, None)
    return file


def write_model_config(file: Path, deadline: float) -> Path:
    """Write the settings of an archive as they are shipped, but for the deadline of a request."""
    config = yaml.safe_load(MODEL_CONFIG.read_text(encoding="utf-8"))
    config["handler"]["deadline_seconds"] = deadline
    config["responseTimeout"] = max(config["responseTimeout"], int(2 * deadline))
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


def some_pairs(count: int, seed: int = 0) -> list[SentencePair]:
    """Pairs of random syllables, the same for a seed."""
    random = Random(seed)
    texts = [
        "".join(random.choices(SYLLABLES + " ", k=random.randint(2, 25))) + "다" for _ in range(2 * count)
    ]
    return [SentencePair(*both) for both in zip(texts[::2], texts[1::2], strict=True)]


def answers(checkpoint: Checkpoint, pairs: list[SentencePair]) -> np.ndarray:
    """The probabilities that a checkpoint gives to pairs, of shape [pairs, labels]."""
    return LocalModel(checkpoint, threads=1).probabilities(pairs)


def write_rows(file: Path, pairs: list[SentencePair], labels: list[str] | None = None) -> Path:
    """Write pairs as JSON lines, with a label for each where there are some."""
    rows = [{"premise": pair.premise, "hypothesis": pair.hypothesis} for pair in pairs]
    if labels:
        rows = [row | {"label": label} for row, label in zip(rows, labels, strict=True)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def write_labelled_pairs(file: Path, people: int = 12) -> Path:
    """Write 30 pairs a person as a list, whose label a few syllables of the hypothesis tell."""
    who = ["누나", "형", "엄마", "아빠", "친구", "동생", "이모", "삼촌", "선생님", "할머니", "의사", "가수"]
    what = ["사과", "빵", "우유", "책", "가방", "신문", "나무", "차", "바지", "자"]
    rows = [
        {"premise": f"{name} 어제 {thing} 샀다.", "hypothesis": hypothesis, "gold_label": label}
        for name in who[:people]
        for thing in what
        for label, hypothesis in (
            ("entailment", f"{name} 그 {thing} 가지고 있다."),
            ("contradiction", f"{name} {thing} 사지 않았다."),
            ("neutral", f"{name} 비가 오는 날 책을 읽었다."),
        )
    ]
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file
