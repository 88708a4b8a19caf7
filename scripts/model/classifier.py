"""Classifiers that can be trained: loaded without dropout, cut to fewer layers, given a temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from handler.encoding import PairEncoder
from handler.errors import ConfigurationError, one_line
from scripts.model.fitting import check_length
from scripts.model.pretrained import attend_in_full, local_folder, make_config, read_json
from scripts.model.served_tokenizer import serve_tokenizer
from scripts.model.tokenizer import load_tokenizer


def load_classifier(
    source: str, labels: Sequence[str] | None, max_seq_length: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, PairEncoder]:
    """A model without dropout, its tokenizer, and that in the form in which it will be served.

    Args:
        source: folder or Hugging Face name.
        labels: for which an encoder gets a new head, and a classifier of as many labels keeps its own; None
            for a teacher, which must be whole.
        max_seq_length: tokens of a pair.

    Raises:
        ConfigurationError: there is no model, it lacks weights or positions, or it couldn't be served.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]
    set_verbosity_error()  # type: ignore[no-untyped-call]  # a new head is meant
    folder = local_folder(source, "--pretrained" if labels else "--teacher")
    file = folder / "config.json"
    if not file.is_file():
        raise ConfigurationError(f"no model to train at {source!r}: it has no config.json")
    served = make_config(read_json(file), file)
    check_length(served, max_seq_length)
    tokenizer = load_tokenizer(folder, served)
    # What is stated needn't be inferred from a version, which saving changes.
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names
    reading, _ = serve_tokenizer(tokenizer, served.to_dict().get("vocab_size") or 0, str(folder))
    stated: dict[str, Any] = {}
    if labels:
        stated["id2label"] = dict(enumerate(labels))
        stated["label2id"] = {label: index for index, label in enumerate(labels)}
    # On a CPU, the gradient of PyTorch's fused attention takes as long as all the rest in bfloat16.
    attention = "sdpa" if torch.cuda.is_available() else "eager"
    try:
        config = AutoConfig.from_pretrained(folder, **stated)
        attend_in_full(config, max_seq_length)
        for name, value in config.to_dict().items():
            # The random numbers of dropout take as long on a CPU as a good part of a layer.
            if "dropout" in name and isinstance(value, float):
                setattr(config, name, 0.0)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            attn_implementation=attention,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except ConfigurationError:
        raise
    except Exception as error:  # each architecture checks its config and its weights in its own way
        raise ConfigurationError(f"no model to train at {source!r}: {one_line(error)}") from None
    # transformers goes on with random numbers in place of what is missing or of another shape.
    random = report["missing_keys"] | {name for name, *_ in report["mismatched_keys"]}
    if labels:
        random = {name for name in random if not _is_head(name, model.base_model_prefix)}
    if random:
        allowed = "those of the classifier alone may be" if labels else "a teacher needs all"
        raise ConfigurationError(
            f"{len(random)} weights of {source!r} are missing or don't fit its config.json, such as "
            f"{min(random)}; {allowed}"
        )
    return model, tokenizer, PairEncoder(reading, max_seq_length)


def _is_head(weight: str, encoder: str) -> bool:
    """Whether a weight isn't the encoder's, or is of its pooler, which many encoders are saved without."""
    return not weight.startswith(f"{encoder}.") or "pooler" in weight.split(".")


def spread_layers(model: PreTrainedModel, count: int) -> nn.ModuleList:
    """Choose `count` of a model's layers, evenly from the first to the last.

    Raises:
        ConfigurationError: the model has fewer, or keeps its layers where BERT doesn't.
    """
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    if not isinstance(layers, nn.ModuleList):
        raise ConfigurationError(f"{type(model).__name__} has no encoder.layer to take layers from")
    if not 1 <= count <= len(layers):
        raise ConfigurationError(f"the teacher has {len(layers)} layers; a student can't have {count}")
    chosen = np.linspace(0, len(layers) - 1, count).round().astype(int) if count > 1 else [0]
    return nn.ModuleList(layers[int(index)] for index in chosen)


def keep_layers(model: PreTrainedModel, layers: nn.ModuleList) -> None:
    """Leave a model the layers that `spread_layers` chose."""
    encoder: Any = model.base_model.encoder
    encoder.layer = layers
    model.config.num_hidden_layers = len(layers)


def best_temperature(logits: Tensor, truth: Tensor) -> float:
    """What logits are best divided by, so that confidence fits accuracy: 1 changes nothing.

    Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2; searched between 0.5 and 3.

    Args:
        logits: of shape [examples, labels].
        truth: the number of each example's label, or probabilities of the shape of `logits`.
    """
    candidates: list[float] = np.round(np.geomspace(0.5, 3, 120), 3).tolist()
    return min(candidates, key=lambda each: float(nn.functional.cross_entropy(logits / each, truth)))


def last_matrix(model: PreTrainedModel) -> nn.Linear:
    """The matrix that makes a model's logits.

    Raises:
        ConfigurationError: the model has none where BERT and RoBERTa have theirs.
    """
    head = getattr(model, "classifier", None)
    head = getattr(head, "out_proj", head)
    if not isinstance(head, nn.Linear):
        raise ConfigurationError(f"{type(model).__name__} has no classifier that is a matrix")
    return head


def divide_logits(model: PreTrainedModel, temperature: float) -> None:
    """Divide all that the model will answer, by dividing the weights of its last matrix."""
    with torch.no_grad():
        for parameter in last_matrix(model).parameters():
            parameter.div_(temperature)


def bfloat16_is_faster() -> bool:
    """Whether this machine multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))
