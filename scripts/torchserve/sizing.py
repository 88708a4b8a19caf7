"""The number of workers that a model gets where none is given."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from handler.checkpoint import Checkpoint
from handler.engine import available_cores
from handler.errors import ConfigurationError

MOST_WORKERS = 8
"""Largest number that is chosen: a worker of a small model takes about 450 MB. More than two were not
measured; `--workers` gives more."""


def suitable_workers(archive: Path) -> int:
    """The number of workers for a model on this machine: one for each core if it is small, else one.

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
