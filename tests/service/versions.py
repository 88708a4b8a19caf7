"""Versions that can be told apart by their answers, and when each of them was the default."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from scripts.model.archive import build_archive
from scripts.model.conversion import convert_checkpoint
from scripts.torchserve.management import Management
from tests.conftest import PATIENCE
from tests.load import Answered
from tests.making import random_weights, write_lightning_checkpoint, write_model_config

LABELS = ("entailment", "contradiction", "neutral")
VERSIONS = ("1.0", "2.0", "3.0")
LABEL_OF = dict(zip(VERSIONS, LABELS, strict=True))


def write_biased_archive(store: Path, scratch: Path, pretrained: Path, version: str) -> Path:
    """An archive whose every answer is the one label that `LABEL_OF` says."""
    weights = random_weights(pretrained)
    weights["classifier.bias"] = torch.zeros(3)
    weights["classifier.bias"][LABELS.index(LABEL_OF[version])] = 100.0
    file = write_lightning_checkpoint(scratch / version / "epoch=1-val_loss=0.50.ckpt", weights)
    checkpoint = convert_checkpoint(file, str(pretrained), scratch / f"converted-{version}")
    config = write_model_config(scratch / "model-config.yaml", PATIENCE)
    return build_archive(checkpoint, version, store / f"nli-{version}.mar", model_config=config)


class TimedManagement(Management):
    """Notes during which time each version was the default, with the time of the call itself for both."""

    def __init__(self, url: str, first: str) -> None:
        super().__init__(url)
        self.periods = [(first, time.monotonic(), float("inf"))]

    def set_default(self, version: str) -> None:
        began = time.monotonic()
        super().set_default(version)
        last, since, _ = self.periods.pop()
        self.periods += [(last, since, time.monotonic()), (version, began, float("inf"))]

    def was_default(self, answered: Answered) -> bool:
        """Whether the version that answered was meant to, at some time while the request was under way."""
        return any(
            version == answered.version and answered.received >= begin and answered.sent <= end
            for version, begin, end in self.periods
        )
