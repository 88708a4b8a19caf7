"""Converting a fine-tuned checkpoint into a Hugging Face folder that can be served."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig

from handler.checkpoint import SECTION
from handler.errors import ConfigurationError
from scripts.model.weights import fit, load_weights, sha256_of

TUTORIAL_LABELS = ("entailment", "contradiction", "neutral")
"""The order in which ratsnlp numbers its labels; a checkpoint doesn't record it."""

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, slots=True)
class Choice:
    """The file that is converted, and why this one."""

    file: Path
    reason: str


def choose_checkpoint(path: Path) -> Choice:
    """Choose the weights to convert: a file itself, or the best in a folder.

    In a folder of Lightning checkpoints that is the lowest ``val_loss`` in the name. A tie goes to the higher
    ``-v`` suffix, which Lightning gives to the later of two files of one name, then to the later epoch.

    Raises:
        ConfigurationError: nothing there is usable; the message lists what was found.
    """
    if path.is_file():
        return Choice(path, "named on the command line")
    if not path.is_dir():
        raise ConfigurationError(f"{path} doesn't exist")
    for name in WEIGHT_FILES:
        if (path / name).is_file() and (path / "config.json").is_file():
            return Choice(path / name, "the weights of a Hugging Face folder")
    found = sorted(path.glob("*.ckpt"))
    ranked = sorted(
        ((loss, -version, -epoch, file) for file in found for loss, version, epoch in _name_facts(file)),
    )
    if ranked:
        loss, _, _, best = ranked[0]
        ties = sum(entry[0] == loss for entry in ranked)
        reason = f"lowest val_loss ({loss:g}) of {len(ranked)}"
        if ties > 1:
            reason += f"; {ties} share it, this is the later by version suffix, epoch and name"
        return Choice(best, reason)
    if len(found) == 1:
        return Choice(found[0], "the only checkpoint there")
    listing = ", ".join(sorted(entry.name for entry in path.iterdir())) or "nothing"
    raise ConfigurationError(
        f"{path} holds no checkpoint to choose: expected files like 'epoch=1-val_loss=0.82.ckpt', or "
        f"config.json with {' or '.join(WEIGHT_FILES)}; found {listing}"
    )


def _name_facts(file: Path) -> Iterable[tuple[float, int, int]]:
    """The val_loss, version suffix and epoch in a checkpoint's name; nothing where it names no loss."""
    match = re.search(r"val_loss=(\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?:-v(\d+))?(?=-|\.ckpt$|$)", file.name)
    if match:
        epoch = re.search(r"epoch=(\d+)", file.name)
        yield float(match[1]), int(match[2] or 0), int(epoch[1]) if epoch else -1


def convert_checkpoint(
    source: Path,
    pretrained: str | None,
    output: Path,
    labels: Sequence[str] | None = None,
    max_seq_length: int = 64,
    force: bool = False,
) -> Path:
    """Write the checkpoint at `source` as a Hugging Face folder.

    Args:
        source: a weights file; beside it may lie the other files of a Hugging Face folder.
        pretrained: folder or Hugging Face name of what was fine-tuned, for its config and tokenizer alone;
            None takes them from the folder of `source`.
        output: the folder to write; its name becomes the model's name.
        labels: in the order of the classifier's outputs; None takes those the config states, else the
            tutorial's.
        max_seq_length: tokens of a pair that the model was trained with, special tokens included.
        force: overwrite files in `output`.

    Raises:
        ConfigurationError: anything doesn't fit; nothing has been written then.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())) and not force:
        raise ConfigurationError(f"{output} exists already; --force overwrites it")
    weights = load_weights(source)
    origin = pretrained or str(source.parent)
    config = _load_config(origin)
    count = _label_count(weights, source)
    names = tuple(labels or _stated_labels(config) or TUTORIAL_LABELS)
    if len(names) != count:
        raise ConfigurationError(
            f"the classifier of {source.name} has {count} outputs, but {len(names)} labels are named: "
            f"{', '.join(names)}; state all of them in order with --labels"
        )
    if len(set(names)) < count or not all(names):
        raise ConfigurationError(f"labels must be different and not empty: {', '.join(names)}")
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}
    weights = fit(weights, config)
    tokenizer = _load_tokenizer(origin)
    rows = next(value for name, value in weights.items() if name.endswith("word_embeddings.weight")).shape[0]
    if len(tokenizer) > rows:
        raise ConfigurationError(f"the tokenizer of {origin} has {len(tokenizer)} tokens, the model {rows}")
    longest = tokenizer_limit(config)
    if not 5 <= max_seq_length <= longest:
        raise ConfigurationError(f"max_seq_length must be from 5 to {longest}, the positions of the model")
    section = {
        "name": output.resolve().name,
        "max_seq_length": max_seq_length,
        "source": source.name,
        "source_sha256": sha256_of(source),
    }
    setattr(config, SECTION, section)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as staging:
        config.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        save_file(weights, Path(staging) / "model.safetensors", metadata={"format": "pt"})
        output.mkdir(exist_ok=True)
        for file in Path(staging).iterdir():
            file.chmod(0o644)
            file.replace(output / file.name)
    return output


def tokenizer_limit(config: PretrainedConfig) -> int:
    """The longest sequence, in tokens, that a model of this config has positions for."""
    positions = int(config.max_position_embeddings)
    # RoBERTa counts positions from behind the padding id.
    return positions - config.pad_token_id - 1 if "roberta" in config.model_type else positions


def _load_config(origin: str) -> PretrainedConfig:
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(origin)
        return config
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigurationError(f"no model config at {origin!r} (--pretrained): {reason}") from None


def _load_tokenizer(origin: str) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(origin)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigurationError(f"no tokenizer at {origin!r} (--pretrained): {reason}") from None
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        # transformers 5 makes an empty tokenizer where the vocabulary is missing, without a word.
        raise ConfigurationError(f"no vocabulary at {origin!r} (--pretrained)")
    if not tokenizer.is_fast:
        raise ConfigurationError(f"the tokenizer at {origin!r} has no fast form, which serving needs")
    return tokenizer


def _stated_labels(config: PretrainedConfig) -> tuple[str, ...] | None:
    """The labels that a config states, unless they are transformers' placeholders."""
    names = tuple((config.id2label or {}).values())
    return None if all(re.fullmatch(r"LABEL_\d+", name) for name in names) else names


def _label_count(weights: Mapping[str, Tensor], source: Path) -> int:
    for name in ("classifier.bias", "classifier.out_proj.bias"):
        if name in weights:
            return weights[name].shape[0]
    raise ConfigurationError(
        f"{source} has no sequence-classification head: neither classifier.bias nor classifier.out_proj.bias"
    )
