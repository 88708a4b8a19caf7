"""Classifiers that can be trained: loaded without dropout, cut to fewer layers, given a temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from handler.errors import ConfigurationError, one_line


def load_classifier(source: str, labels: Sequence[str] | None) -> tuple[PreTrainedModel, Any]:
    """A model with its tokenizer, without dropout: an encoder with a new head for `labels`, or a classifier.

    Raises:
        ConfigurationError: there is no model, or no fast tokenizer.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]
    set_verbosity_error()  # type: ignore[no-untyped-call]  # a new head is meant
    stated: dict[str, Any] = {}
    if labels:
        stated["id2label"] = dict(enumerate(labels))
        stated["label2id"] = {label: index for index, label in enumerate(labels)}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        config = AutoConfig.from_pretrained(source, **stated)
        for name, value in config.to_dict().items():
            # The random numbers of dropout take as long on a CPU as a good part of a layer.
            if "dropout" in name and isinstance(value, float):
                setattr(config, name, 0.0)
        # On a CPU, the gradient of PyTorch's fused attention takes as long as all the rest in bfloat16.
        attention = "sdpa" if torch.cuda.is_available() else "eager"
        model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            source, config=config, dtype=torch.float32, attn_implementation=attention
        )
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"no model to train at {source!r}: {one_line(error)}") from None
    if not tokenizer.is_fast:
        raise ConfigurationError(f"the tokenizer at {source!r} has no fast form, which serving needs")
    return model, tokenizer


def keep_layers(model: PreTrainedModel, count: int) -> None:
    """Leave `count` of a model's layers, spread evenly from the first to the last.

    Raises:
        ConfigurationError: the model has fewer, or keeps its layers where BERT doesn't.
    """
    encoder = getattr(model.base_model, "encoder", None)
    layers = getattr(encoder, "layer", None)
    if encoder is None or not isinstance(layers, nn.ModuleList):
        raise ConfigurationError(f"{type(model).__name__} has no encoder.layer to take layers from")
    if not 1 <= count <= len(layers):
        raise ConfigurationError(f"the teacher has {len(layers)} layers; a student can't have {count}")
    chosen = np.linspace(0, len(layers) - 1, count).round().astype(int) if count > 1 else [0]
    encoder.layer = nn.ModuleList(layers[int(index)] for index in chosen)
    model.config.num_hidden_layers = count


def best_temperature(logits: Tensor, truth: Tensor) -> float:
    """What logits are best divided by, so that confidence fits accuracy: 1 changes nothing.

    Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2; searched between 0.5 and 3.
    """
    candidates: list[float] = np.round(np.geomspace(0.5, 3, 120), 3).tolist()
    return min(candidates, key=lambda each: float(nn.functional.cross_entropy(logits / each, truth)))


def divide_logits(model: PreTrainedModel, temperature: float) -> None:
    """Divide all that the model will answer, by dividing the weights of its last matrix.

    Raises:
        ConfigurationError: the model has no last matrix where BERT and RoBERTa have theirs.
    """
    head = getattr(model, "classifier", None)
    head = getattr(head, "out_proj", head)
    if not isinstance(head, nn.Linear):
        raise ConfigurationError(f"{type(model).__name__} has no classifier that is a matrix")
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.div_(temperature)


def bfloat16_is_faster() -> bool:
    """Whether this machine multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))
