"""Archives with nothing but what is read before a start."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from handler.checkpoint import SECTION
from tests.making import TINY_SHAPE


def write_archive(file: Path, version: str) -> None:
    """An archive of `nli` with a manifest and a small model's configuration."""
    manifest = {"model": {"modelName": "nli", "modelVersion": version}}
    labels = {"0": "entailment", "1": "contradiction", "2": "neutral"}
    section = {"name": "tiny", "max_seq_length": 80, "source": "tiny.ckpt", "source_sha256": "0" * 64}
    config = {"model_type": "bert", "id2label": labels, SECTION: section, **TINY_SHAPE}
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("config.json", json.dumps(config))
