"""How many workers a model gets where nobody says it."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from handler.checkpoint import Checkpoint
from handler.engine import available_cores
from handler.errors import ConfigurationError

MOST_WORKERS = 8
"""Each takes about 450 MB for a small model. More than two were not measured; `--workers` gives more."""


def suitable_workers(archive: Path) -> int:
    """Workers for a model on this machine: of a small one as many as there are cores, of a large one one.

    The handler gives each worker the threads to match (`handler.engine.threads_per_worker`).

    Raises:
        ConfigurationError: the archive holds no converted checkpoint.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(archive) as content:
                content.extract("config.json", folder)
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise ConfigurationError(f"{archive} is not an archive of build_archive.py: {error}") from None
        small = Checkpoint.read(Path(folder)).small
    return min(available_cores(), MOST_WORKERS) if small else 1
