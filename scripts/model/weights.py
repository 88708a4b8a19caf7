"""Reading a checkpoint's weights without running anything that the file says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForSequenceClassification, PretrainedConfig

from handler.errors import ConfigurationError

INERT_MODULES = ("pytorch_lightning", "lightning", "lightning_fabric", "ratsnlp", "argparse", "pathlib")
"""Packages whose classes a Lightning checkpoint may mention beside its weights. They are never imported:
an empty class stands in for each."""


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


def fit(weights: Mapping[str, Tensor], config: PretrainedConfig) -> dict[str, Tensor]:
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
