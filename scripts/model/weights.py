"""A checkpoint's weights: the file of a folder that holds them, and what is in it, whatever its container."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from handler.errors import ConfigurationError, one_line
from scripts.model.unpickling import Inert, read_pickle

INDEX = ".index.json"
"""How the name of a file ends that lists the shards of a model."""

WEIGHT_FILES = (
    "model.safetensors",
    f"model.safetensors{INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX}",
)
"""Names of the weights in a Hugging Face folder, the one that transformers prefers first."""

CONTAINERS = ("state_dict", "model_state_dict", "module", "model", "net")
"""Keys under which a training loop keeps the weights, the usual one first."""


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
    found = sorted(file for file in path.glob("*.ckpt") if file.is_file())
    ranked = sorted(rank for rank in map(_rank, found) if rank)
    if ranked:
        loss, _, _, best = ranked[0]
        ties = sum(rank[0] == loss for rank in ranked)
        reason = f"lowest val_loss ({loss:g}) of {len(ranked)}"
        if ties > 1:
            reason += f"; {ties} share it, this is the later by version suffix, epoch and name"
        return Choice(best, reason)
    if len(found) == 1:
        return Choice(found[0], "the only checkpoint there")
    listing = ", ".join(sorted(entry.name for entry in path.iterdir())) or "nothing"
    raise ConfigurationError(
        f"{path} holds no checkpoint to choose: expected files like 'epoch=1-val_loss=0.82.ckpt', or "
        f"config.json with {WEIGHT_FILES[0]}; found {listing if len(listing) < 90 else listing[:87] + ' …'}"
    )


def _rank(file: Path) -> tuple[float, int, int, Path] | None:
    """The place of a checkpoint among others by its name, lowest first; None where it names no loss."""
    loss = re.search(r"val_loss=(\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?:-v(\d+))?(?=-|\.ckpt$|$)", file.name)
    epoch = re.search(r"epoch=(\d+)", file.name)
    return (float(loss[1]), -int(loss[2] or 0), -int(epoch[1]) if epoch else 1, file) if loss else None


@dataclass(frozen=True, slots=True)
class Stored:
    """What a checkpoint's file holds."""

    tensors: dict[str, Tensor]
    """By the names in the file."""
    lightning: bool = False
    """Whether it is laid out as PyTorch Lightning does, with which ratsnlp trains."""
    surroundings: Mapping[Any, Any] = field(default_factory=dict)
    """What lies beside the weights, for those who look for a statement there."""


def read_weights(file: Path) -> Stored:
    """Read a file of weights, or all the shards that an index names.

    Raises:
        ConfigurationError: it isn't a checkpoint, is damaged, or holds no weights.
    """
    shards = weight_files(file)
    if len(shards) > 1 or shards[0] != file:
        parts = (read_weights(shard).tensors for shard in shards)
        return Stored({name: value for part in parts for name, value in part.items()})
    if file.suffix == ".safetensors":
        try:
            return Stored(load_file(file))
        except (OSError, SafetensorError) as error:
            raise ConfigurationError(f"{file} can't be read as a checkpoint: {one_line(error)}") from None
    content = read_pickle(file)
    tensors = _weights_in(content)
    if not tensors:
        raise ConfigurationError(f"{file} holds no weights: neither a state_dict nor tensors by name")
    lightning = isinstance(content, Mapping) and {"state_dict", "epoch", "global_step"} <= set(content)
    return Stored(tensors, lightning, content if isinstance(content, Mapping) else {})


def weight_files(file: Path) -> list[Path]:
    """The files that hold the weights which `file` stands for: itself, or an index's shards.

    Raises:
        ConfigurationError: the index can't be read, or a shard is missing.
    """
    if not file.name.endswith(INDEX):
        return [file]
    try:
        names = sorted(set(json.loads(file.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{file} is no index of shards: {one_line(error)}") from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or name.endswith(INDEX):
            raise ConfigurationError(f"{file} names {name!r}, which is no file beside it")
        if not (file.parent / name).is_file():
            raise ConfigurationError(f"{file} names the shard {name}, which isn't there: copy it too")
    if not names:
        raise ConfigurationError(f"{file} names no shards")
    return [file.parent / name for name in names]


def _weights_in(content: Any) -> dict[str, Tensor]:
    """Tensors by name: of the content itself, or of what lies under one of its keys; whichever has most."""
    held = content if isinstance(content, Mapping) else {}
    values = (content, *(held[key] for key in CONTAINERS if key in held), *held.values())
    return max((_tensors(value) for value in values), key=len)


def _tensors(value: Any, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a mapping, or of a pickled `torch.nn.Module`, of which only the state is read."""
    if isinstance(value, Inert) and isinstance(value.state, Mapping) and "_modules" in value.state:
        found: dict[str, Tensor] = {}
        for kind in ("_parameters", "_buffers"):
            found |= _tensors(value.state.get(kind), prefix)
        parts = value.state["_modules"]
        for name, part in parts.items() if isinstance(parts, Mapping) else ():
            found |= _tensors(part, f"{prefix}{name}.")
        return found
    items = value.items() if isinstance(value, Mapping) else ()
    return {prefix + name: each for name, each in items if isinstance(name, str) and _is_weight(each)}


def _is_weight(value: object) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cpu" and value.layout is torch.strided


def sha256_of(*files: Path) -> str:
    """Hash files of any size in pieces, one behind the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while piece := stream.read(2**20):
                digest.update(piece)
    return digest.hexdigest()
