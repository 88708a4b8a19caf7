"""An unpacked archive that predicts as the service does: the same limits, messages and names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from handler.checkpoint import Checkpoint
from handler.errors import RequestError
from handler.request import SentencePair, read_pair
from handler.settings import HandlerSettings
from scripts.pairs.local_model import LocalModel
from scripts.pairs.output_layout import Prediction

CHUNK = 256
"""Pairs in one call of the engine: enough to fill its batches."""


class ArchiveModel:
    """The model, the settings and the name of an archive."""

    def __init__(self, folder: Path) -> None:
        """Load it, for one thread.

        Raises:
            ConfigurationError: it can't be loaded.
        """
        manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text(encoding="utf-8"))["model"]
        config = yaml.safe_load((folder / manifest["configFile"]).read_text(encoding="utf-8"))
        self._limits = HandlerSettings.from_model_config(config)
        self._model = LocalModel(Checkpoint.read(folder), threads=1)
        self._name = {"name": self._model.checkpoint.name, "version": manifest["modelVersion"]}
        self._model.engine.warm_up()

    def predict(self, pairs: Sequence[SentencePair | RequestError]) -> list[Prediction]:
        """The prediction for each pair, or the reason why there is none, in order."""
        found: list[Prediction] = []
        for start in range(0, len(pairs), CHUNK):
            found += self._predict([self._within_limits(pair) for pair in pairs[start : start + CHUNK]])
        return found

    def _within_limits(self, pair: SentencePair | RequestError) -> SentencePair | RequestError:
        if isinstance(pair, RequestError):
            return pair
        try:
            return read_pair({"premise": pair.premise, "hypothesis": pair.hypothesis}, self._limits)
        except RequestError as error:
            return error

    def _predict(self, pairs: Sequence[SentencePair | RequestError]) -> list[Prediction]:
        encoded = self._model.encode([pair for pair in pairs if isinstance(pair, SentencePair)])
        results = iter(zip(encoded, self._model.engine.probabilities(encoded), strict=True))
        found: list[Prediction] = []
        for pair in pairs:
            if isinstance(pair, RequestError):
                found.append(str(pair))
                continue
            tokens, result = next(results)
            if isinstance(result, RequestError):
                found.append(str(result))
            else:
                found.append(self._answer(result, tokens.truncated))
        return found

    def _answer(self, probabilities: NDArray[np.float64], truncated: bool) -> Prediction:
        by_label = dict(zip(self._model.checkpoint.labels, probabilities.tolist(), strict=True))
        label = max(by_label, key=by_label.__getitem__)
        return {"label": label, "probabilities": by_label, "truncated": truncated, "model": self._name}
