"""A checkpoint folder as the service reads it: Hugging Face files, with our own section in `config.json`."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from handler.errors import ConfigurationError

SECTION = "sentence_pair"
"""The key in `config.json` under which a converted checkpoint says where it comes from."""

CARD = "README.md"
"""The model card: a file of a checkpoint's folder that travels in archives, if there is one."""

Precision = Literal["fp32", "bf16", "int8", "fp16"]
"""The number format an archive computes in: the first three on the CPU, the last on a GPU."""


SMALL = 10_000_000
"""Largest number of weights in the layers of a small model. Measured were 1.6 million, where two workers of
one thread answer a third more than one of two, and 85 million, where they answer 6 % more and take 30 %
longer to answer a client who is alone (`docs/speed.md`)."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Facts about a model, as its folder states them."""

    folder: Path
    name: str
    """The name of the model that users see beside every answer."""
    labels: tuple[str, ...]
    """Names of the classifier's outputs, in their order."""
    max_seq_length: int
    """Largest number of tokens in an encoded pair, special tokens included."""
    pad_token_id: int
    source: str
    """Name of the file it was converted from."""
    source_sha256: str
    """SHA-256 of that file."""
    precision: Precision | None = None
    """Precision of the archive; None for a converted checkpoint, whose weights are float32."""
    training_data: str | None = None
    """What the model was trained on, as `training_data` of the section says."""
    small: bool = False
    """Whether a forward pass is so short that several workers of one thread do more than one of several."""

    @property
    def identity(self) -> str:
        """Label of the weights that answer, for metrics and logs, such as `demo-1a2b3c4d`: name and digits.

        Versions of equal weights share it, and other weights under the same version do not. TorchServe cuts
        the value of a metric's label at a comma and may not know other letters than ASCII's.
        """
        weights = f"{self.source_sha256} {self.precision or 'fp32'}"
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", self.name)
        return f"{name}-{hashlib.sha256(weights.encode()).hexdigest()[:8]}"

    def card(self) -> str | None:
        """The model card, or None where there is none."""
        file = self.folder / CARD
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """Read `config.json` of a folder that `scripts/convert_checkpoint.py` wrote.

        Raises:
            ConfigurationError: the file is missing, isn't JSON, or lacks what serving needs.
        """
        path = folder / "config.json"
        try:
            config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigurationError(f"{path} is missing: not a converted checkpoint") from None
        except ValueError as error:
            raise ConfigurationError(f"{path} is not JSON: {error}") from None
        try:
            section = config[SECTION]
            precision = section.get("precision")
            if precision not in {None, *get_args(Precision)}:
                raise ValueError(f"precision {precision!r}")
            by_id = {int(key): str(label) for key, label in config["id2label"].items()}
            return cls(
                folder=folder,
                name=str(section["name"]),
                labels=tuple(by_id[index] for index in range(len(by_id))),
                max_seq_length=int(section["max_seq_length"]),
                pad_token_id=int(config.get("pad_token_id") or 0),
                source=str(section["source"]),
                source_sha256=str(section["source_sha256"]),
                precision=precision,
                training_data=section.get("training_data"),
                small=_layer_weights(config) < SMALL,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(
                f"{path} lacks or misstates {error}: convert it with scripts/convert_checkpoint.py"
            ) from None


def _layer_weights(config: dict[str, Any]) -> float:
    """Weights in an encoder's layers, of which each is multiplied once a token; infinite where unknown."""
    try:
        hidden, inner = int(config["hidden_size"]), int(config["intermediate_size"])
        return int(config["num_hidden_layers"]) * (4 * hidden * hidden + 2 * hidden * inner)
    except (KeyError, TypeError):
        return math.inf
