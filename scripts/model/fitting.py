"""Weights against the model that a config describes: under which prefix they lie, and whether they fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PretrainedConfig

from handler.errors import ConfigurationError, one_line

WRAPPERS = re.compile(r"(^|\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)")
"""Segments that torch.compile and FSDP put into names, anywhere."""

BUFFERS = re.compile(r"(.*\.)?(position_ids|token_type_ids|relative_position_index|rotary_emb\..*)$")
"""What older versions of transformers saved with the weights and newer ones compute."""

BESIDE = re.compile(r"(?i)[^.]*(loss|criterion|metric|accuracy|class_weight)")
"""First segments of names that belong to training, not to the network."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Exactly the parameters of a model, by its names, and what of the file isn't part of it."""

    weights: dict[str, Tensor]
    ignored: tuple[str, ...]


def empty_model(config: PretrainedConfig) -> torch.nn.Module:
    """The classifier that a config describes, without memory for its weights.

    Raises:
        ConfigurationError: transformers has no such classifier, or can't build it.
    """
    config.dtype = torch.float32
    try:
        with torch.device("meta"):
            model: torch.nn.Module = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    except Exception as error:  # each architecture checks its config in its own way
        raise ConfigurationError(
            f"no classifier can be made from the config (model_type {config.model_type!r}): {one_line(error)}"
        ) from None
    return model


def own_names(tensors: Mapping[str, Tensor], expected: set[str]) -> Fitted:
    """Name tensors as the model does: without what wrappers and training loops put in front.

    Raises:
        ConfigurationError: there are several such models, and none of them is the usual one.
    """
    renamed = {}
    for name, value in tensors.items():
        plain = WRAPPERS.sub("", name).removeprefix(".")
        if plain not in expected:
            plain = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", plain)
            plain = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", plain)
        renamed[plain] = value
    counts: dict[str, int] = {}
    for name in renamed:
        for start in (0, *(match.end() for match in re.finditer(r"\.", name))):
            if name[start:] in expected:
                counts[name[:start]] = counts.get(name[:start], 0) + 1
    best = [prefix for prefix in counts if counts[prefix] == max(counts.values())]
    if len(best) > 1:
        best = [prefix for prefix in best if set(prefix.split(".")) <= {"model", "module", ""}]
    if counts and len(best) != 1:
        raise ConfigurationError(
            f"the file holds several models ({', '.join(sorted(counts)[:4])}): save the one to serve alone"
        )
    prefix = best[0] if best else ""
    tops = {name.split(".")[0] for name in expected}
    weights, ignored = {}, []
    for name, value in renamed.items():
        short = name.removeprefix(prefix)
        of_training = BUFFERS.match(short) or (short.split(".")[0] not in tops and BESIDE.match(short))
        if not name.startswith(prefix) or (of_training and short not in expected):
            ignored.append(name)
        else:
            weights[short] = value
    return Fitted(weights, tuple(ignored))


def label_count(tensors: Mapping[str, Tensor], config: PretrainedConfig) -> int:
    """The number of outputs of the classifier in a file: the size of what changes with the number of labels.

    Raises:
        ConfigurationError: it has none.
    """
    few, many = _shapes(config, 7), _shapes(config, 11)
    found = own_names(tensors, set(few)).weights
    outputs = [name for name in few if few[name] != many[name]]
    counts = {found[name].shape[few[name].index(7)] if name in found else 0 for name in outputs}
    if len(counts) != 1 or 0 in counts:
        raise ConfigurationError(
            f"no sequence-classification head: {' and '.join(outputs)} are not both there; "
            "fine-tune the model on sentence pairs first"
        )
    count = counts.pop()
    if count < 2:
        raise ConfigurationError(
            "the classifier has one output, a number and no label: fine-tune with at least two labels"
        )
    return count


def _shapes(config: PretrainedConfig, labels: int) -> dict[str, list[int]]:
    """The shapes of a classifier's parameters, for a number of labels that the config keeps."""
    config.num_labels = labels
    return {name: list(value.shape) for name, value in empty_model(config).state_dict().items()}


def fit(tensors: Mapping[str, Tensor], config: PretrainedConfig, half: bool = False) -> Fitted:
    """Hold weights against the model that `config` describes; return exactly its parameters.

    They are float32 or, where `half` asks for it, float16.

    Raises:
        ConfigurationError: something is missing, of another shape, or not part of the model.
    """
    model = empty_model(config)
    expected = model.state_dict()
    config.architectures = [type(model).__name__]
    found = own_names(tensors, set(expected))
    weights = found.weights
    faults = [f"{name} is missing" for name in expected if name not in weights]
    for name, value in weights.items():
        if name not in expected:
            faults.append(f"{name} is not part of {type(model).__name__}")
        elif value.shape != expected[name].shape:
            faults.append(f"{name} has shape {list(value.shape)} instead of {list(expected[name].shape)}")
        elif value.is_floating_point() != expected[name].is_floating_point():
            faults.append(f"{name} holds {value.dtype}, as quantized weights do")
    if faults:
        more = f" (and {len(faults) - 2} more)" if len(faults) > 2 else ""
        raise ConfigurationError(f"the weights don't fit the config: {'; '.join(faults[:2])}{more}")
    kept = {name: weights[name].to(expected[name].dtype).contiguous() for name in expected}
    if half:
        kept = {name: value.half() if value.is_floating_point() else value for name, value in kept.items()}
    infinite = [name for name, value in kept.items() if not bool(value.isfinite().all())]
    if infinite:
        raise ConfigurationError(f"the weights are damaged: {infinite[0]} is not finite")
    return Fitted(kept, found.ignored)


def check_length(config: PretrainedConfig, max_seq_length: int) -> None:
    """Refuse a `max_seq_length` that a model of this config has no positions for, or that holds no pair.

    Raises:
        ConfigurationError: see above.
    """
    longest = longest_sequence(config)
    if not 5 <= max_seq_length <= longest:
        raise ConfigurationError(f"max_seq_length must be from 5 to {longest}, the positions of the model")


def longest_sequence(config: PretrainedConfig) -> int:
    """The longest sequence, in tokens, that a model of this config has positions for."""
    positions = config.to_dict().get("max_position_embeddings")
    if not isinstance(positions, int) or positions < 1:
        return 4096  # positions that are computed, or relative
    # RoBERTa and its kin count positions from behind the padding id.
    modules = (each for each in empty_model(config).modules() if not isinstance(each, torch.nn.Embedding))
    paddings = (getattr(module, "padding_idx", None) for module in modules)
    return positions - max((padding + 1 for padding in paddings if isinstance(padding, int)), default=0)
