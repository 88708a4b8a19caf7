"""How many workers a model gets where nobody says it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from handler.engine import available_cores
from handler.errors import ConfigurationError
from scripts.torchserve.sizing import MOST_WORKERS, suitable_workers


def test_a_small_model_gets_a_worker_a_core_and_a_large_one_a_single_one(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "nli-1.0.mar"
    config = json.loads((tiny_checkpoint / "config.json").read_text(encoding="utf-8"))
    for layers, workers in ((2, min(MOST_WORKERS, available_cores())), (10_000, 1)):
        with zipfile.ZipFile(archive, "w") as content:
            content.writestr("config.json", json.dumps(config | {"num_hidden_layers": layers}))
        assert suitable_workers(archive) == workers


def test_another_archive_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "nli-1.0.mar"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("model.py", "")
    with pytest.raises(ConfigurationError, match="not an archive of build_archive"):
        suitable_workers(archive)
    with pytest.raises(ConfigurationError, match="not an archive of build_archive"):
        suitable_workers(tmp_path / "none.mar")
