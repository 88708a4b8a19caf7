"""Convert a ratsnlp / PyTorch Lightning checkpoint into a Hugging Face folder that can be served."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PretrainedConfig

from handler.checkpoint import SECTION
from handler.errors import ConfigurationError
from scripts.command_line import argument_parser, run

TUTORIAL_LABELS = ("entailment", "contradiction", "neutral")
"""The order in which ratsnlp numbers its labels; a checkpoint doesn't record it."""

INERT_MODULES = ("pytorch_lightning", "lightning", "lightning_fabric", "ratsnlp", "argparse", "pathlib")
"""Packages whose classes a Lightning checkpoint may mention beside its weights. They are never imported:
an empty class stands in for each."""

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


def load_weights(file: Path) -> dict[str, Tensor]:
    """Load a model's weights without running anything that the file says, and without its optimizer state.

    The file is mapped, not read: only pages that are used take memory. A Lightning checkpoint's
    ``model.`` prefix is stripped where it is the prefix.

    Raises:
        ConfigurationError: not a checkpoint, or it refers to code that weights don't need.
    """
    if file.suffix == ".safetensors":
        return load_file(file)
    try:
        mentioned = torch.serialization.get_unsafe_globals_in_checkpoint(file)
        stand_ins = [(type("Inert", (), {}), name) for name in mentioned if _is_inert(name)]
        refused = sorted(name for name in mentioned if not _is_inert(name))
        if refused:
            raise ConfigurationError(f"{file} is refused: its pickle refers to {', '.join(refused)}")
        with torch.serialization.safe_globals(stand_ins):  # type: ignore[arg-type]
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except ConfigurationError:
        raise
    except Exception as error:  # torch raises many kinds here, with messages of many lines
        reason = str(error).split("\n")[0]
        raise ConfigurationError(f"{file} can't be read as a checkpoint: {reason}") from None
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ConfigurationError(f"{file} holds no weights: neither a state_dict nor tensors by name")
    if "state_dict" in content:
        return {name.removeprefix("model."): value for name, value in weights.items()}
    return dict(weights)


def _is_inert(name: str) -> bool:
    return name.split(".")[0] in INERT_MODULES


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
    weights = _fit(weights, config)
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


def sha256_of(file: Path) -> str:
    """Hash a file of any size in pieces, with a progress bar where it takes a while."""
    digest = hashlib.sha256()
    size = file.stat().st_size
    with (
        file.open("rb") as stream,
        tqdm(
            total=size, unit="B", unit_scale=True, desc="hashing", disable=size < 2**28 or None, leave=False
        ) as bar,
    ):
        while piece := stream.read(2**20):
            digest.update(piece)
            bar.update(len(piece))
    return digest.hexdigest()


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


def _fit(weights: Mapping[str, Tensor], config: PretrainedConfig) -> dict[str, Tensor]:
    """Hold weights against the model that `config` describes; return exactly its parameters in float32."""
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    expected = model.state_dict()
    config.architectures = [type(model).__name__]
    config.dtype = torch.float32
    faults = [f"{name} is missing" for name in expected if name not in weights]
    for name, value in weights.items():
        if name in expected:
            if value.shape != expected[name].shape:
                shapes = f"{list(value.shape)} instead of {list(expected[name].shape)}"
                faults.append(f"{name} has shape {shapes}")
        # A buffer of transformers before 4.31, which saved it with the weights: 0, 1, 2, …
        elif not name.endswith("embeddings.position_ids"):
            faults.append(f"{name} is not part of {type(model).__name__}")
    if faults:
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        raise ConfigurationError(f"the weights don't fit the config: {'; '.join(faults[:5])}{more}")
    return {name: weights[name].to(torch.float32).contiguous() for name in expected}


def main() -> int:
    """Read the arguments, convert, and say what was done."""
    parser = argument_parser(
        __doc__ or "",
        "python scripts/convert_checkpoint.py --checkpoint checkpoint-paircls "
        "--pretrained beomi/kcbert-base --output checkpoints/kcbert-nli",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="FILE_OR_FOLDER",
        help="a .ckpt file, a folder of them (the lowest val_loss is taken), or a Hugging Face folder",
    )
    parser.add_argument(
        "--pretrained",
        metavar="NAME_OR_FOLDER",
        help="what was fine-tuned: a Hugging Face name such as beomi/kcbert-base, or a folder with its "
        "config and tokenizer; its weights aren't needed. Default for a Hugging Face folder: that folder",
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder to write, such as checkpoints/NAME"
    )
    parser.add_argument(
        "--labels",
        type=lambda text: text.split(","),
        help=f"labels in the order of the classifier's outputs (default: {','.join(TUTORIAL_LABELS)})",
    )
    parser.add_argument("--max-seq-length", type=int, default=64, help="as in training (default: 64)")
    parser.add_argument("--force", action="store_true", help="overwrite the files in --output")
    arguments = parser.parse_args()
    choice = choose_checkpoint(arguments.checkpoint)
    print(f"converting {choice.file} ({choice.reason})")
    if arguments.pretrained is None and choice.file.suffix == ".ckpt":
        raise ConfigurationError(
            "--pretrained is needed: a Lightning checkpoint has no config and no tokenizer"
        )
    output = convert_checkpoint(
        choice.file,
        arguments.pretrained,
        arguments.output,
        arguments.labels,
        arguments.max_seq_length,
        arguments.force,
    )
    config = json.loads((output / "config.json").read_text(encoding="utf-8"))
    print(f"wrote {output}: {config['architectures'][0]}, labels {', '.join(config['id2label'].values())}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
