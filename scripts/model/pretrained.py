"""What was fine-tuned: a folder or a Hugging Face name, for its config and tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers import CONFIG_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PretrainedConfig

from handler.errors import ConfigurationError, one_line

NEEDED = ("*.json", "*.txt", "*.model")
"""Files that are downloaded of a model on Hugging Face: all but weights."""


def local_folder(origin: str, option: str = "--pretrained") -> Path:
    """The folder with the config and the tokenizer of `origin`, downloaded where it names no folder.

    Args:
        origin: folder or Hugging Face name.
        option: by which the user gave it, for messages.

    Raises:
        ConfigurationError: there is none.
    """
    folder = Path(origin)
    if folder.is_dir():
        return folder
    if folder.exists() or origin.count("/") > 1 or origin.startswith(("/", ".", "~")):
        raise ConfigurationError(f"{origin} is no folder: {option} names one with a config and a tokenizer")
    try:
        return Path(snapshot_download(origin, allow_patterns=list(NEEDED)))
    except Exception as error:  # of the network, of Hugging Face, of the name
        raise ConfigurationError(
            f"{origin!r} ({option}) is no folder here and can't be downloaded: {one_line(error)}"
        ) from None


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ConfigurationError: the file is missing, or holds something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{file} is missing: name the model that was fine-tuned with --pretrained"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} can't be read: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{file} holds no JSON object")
    return content


def make_config(raw: dict[str, Any], where: Path) -> PretrainedConfig:
    """The config of a single-label classifier, whose labels are set later.

    Raises:
        ConfigurationError: it describes something that can't answer as a classifier of pairs does.
    """
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        own_code = "auto_map" in raw
        why = "needs code of its own, which is never run" if own_code else "is unknown to transformers"
        raise ConfigurationError(f"{where}: model_type {kind!r} {why}")
    problem = raw.get("problem_type")
    if problem not in {None, "single_label_classification"}:
        raise ConfigurationError(
            f"{where}: problem_type is {problem}, but answers here are one label of several, by softmax: "
            "fine-tune with single_label_classification"
        )
    for key in ("is_decoder", "is_encoder_decoder"):
        if raw.get(key):
            raise ConfigurationError(
                f"{where}: {key} is true, but only encoders are served: fine-tune one, such as ELECTRA"
            )
    dropped = {"id2label", "label2id", "num_labels", "problem_type"}
    dropped |= {"model_type", "auto_map", "torch_dtype", "dtype"}
    try:
        config: PretrainedConfig = CONFIG_MAPPING[kind].from_dict(
            {key: value for key, value in raw.items() if key not in dropped}
        )
    except Exception as error:  # each config checks its values in its own way
        raise ConfigurationError(f"{where} is no config of {kind!r}: {one_line(error)}") from None
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ConfigurationError(f"{where}: transformers has no classifier of model_type {kind!r}")
    return config


def attend_in_full(config: PretrainedConfig, max_seq_length: int) -> None:
    """Let a sparse BigBird, such as KoBigBird, attend to all tokens, as transformers does for short texts.

    Raises:
        ConfigurationError: `max_seq_length` is so long that sparse attention would be used.
    """
    if getattr(config, "attention_type", None) != "block_sparse":
        return
    longest = (5 + 2 * config.num_random_blocks) * config.block_size
    if max_seq_length > longest:
        raise ConfigurationError(
            f"a sparse BigBird is served up to --max-seq-length {longest}, where it attends to all tokens"
        )
    config.attention_type = "original_full"
