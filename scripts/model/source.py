"""Which file of a folder is the checkpoint to convert."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from handler.errors import ConfigurationError
from scripts.model.weights import INDEX

WEIGHT_FILES = (
    "model.safetensors",
    f"model.safetensors{INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX}",
)
"""Names of the weights in a Hugging Face folder, the one that transformers prefers first."""


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
