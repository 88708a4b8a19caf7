"""An archive as it is handed to the actors, and what the output says of it."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from handler.checkpoint import Checkpoint
from handler.errors import ConfigurationError
from scripts.bulk.folder import Folder
from scripts.bulk.place import folder_at
from scripts.torchserve.archives import ArchiveName


@dataclass(frozen=True, slots=True)
class Archive:
    """A model archive in memory."""

    sha256: str
    model: str
    """Name and version, as the output's column `model` has them."""
    labels: tuple[str, ...]
    content: bytes = field(repr=False)

    @classmethod
    def read(cls, url: str) -> Self:
        """Read an archive from a path or from what fsspec opens.

        Raises:
            ConfigurationError: it is missing, can't be reached, or isn't a model archive.
        """
        folder, _, name = folder_at(url).url.rpartition("/")
        try:
            with Folder(folder or "/").local(name) as path, tempfile.TemporaryDirectory() as unpacked:
                version = ArchiveName.of(path).version
                with zipfile.ZipFile(path) as file:
                    file.extract("config.json", unpacked)
                checkpoint = Checkpoint.read(Path(unpacked))
                content = path.read_bytes()
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise ConfigurationError(f"{url} can't be read as an archive: {error}") from None
        sha256 = hashlib.sha256(content).hexdigest()
        return cls(sha256, f"{checkpoint.name} {version}", checkpoint.labels, content)
