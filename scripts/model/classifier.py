"""Classifiers that can be trained: loaded without dropout, cut to fewer layers, asked for probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from handler.errors import ConfigurationError
from handler.torch_model import input_names
from scripts.model.training_data import Collator, Examples


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
        model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            source, dtype=torch.float32, **stated
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigurationError(f"no model to train at {source!r}: {reason}") from None
    if not tokenizer.is_fast:
        raise ConfigurationError(f"the tokenizer at {source!r} has no fast form, which serving needs")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            # Its random numbers take as long on a CPU as a good part of a layer.
            module.p = 0.0
    for name, value in model.config.to_dict().items():
        if "dropout" in name and isinstance(value, float):
            setattr(model.config, name, 0.0)
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


def label_names(model: PreTrainedModel) -> tuple[str, ...]:
    """The model's labels in the order of its outputs."""
    return tuple(map(str, (model.config.id2label or {}).values()))


def collator(model: PreTrainedModel) -> Collator:
    """What makes batches for `model`."""
    return Collator(int(model.config.pad_token_id or 0), "token_type_ids" in input_names(model))


@torch.inference_mode()
def predict(model: PreTrainedModel, examples: Examples, batch: int = 64) -> NDArray[np.float64]:
    """The model's probabilities for each example, in the precision that it is trained in."""
    model.train(False)
    collate = collator(model)
    found = []
    device = model.device
    for start in range(0, len(examples), batch):
        rows = [examples[index] for index in range(start, min(start + batch, len(examples)))]
        inputs = {name: value.to(device) for name, value in collate(rows).items() if name != "labels"}
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_faster()):
            logits = model(**inputs).logits
        found.append(logits.double().softmax(-1).cpu().numpy())
    return np.concatenate(found)


def best_temperature(probabilities: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """What logits are best divided by, so that confidence fits accuracy: 1 changes nothing.

    Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2; searched between 0.5 and 3.
    """
    right = targets.argmax(axis=1)[:, None]
    logits = np.log(np.maximum(probabilities, 1e-12))

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        return float(
            np.mean(np.logaddexp.reduce(scaled, axis=1) - np.take_along_axis(scaled, right, 1)[:, 0])
        )

    best: float = min(np.round(np.geomspace(0.5, 3, 120), 3).tolist(), key=loss)
    return best


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
