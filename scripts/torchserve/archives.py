"""What a model archive says of itself."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from handler.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ArchiveName:
    """The name and version that an archive registers under."""

    model: str
    version: str

    @classmethod
    def of(cls, archive: Path) -> ArchiveName:
        """Read an archive's manifest.

        Raises:
            ConfigurationError: the file is missing or isn't a model archive, or TorchServe can't read its
                name.
        """
        if not re.fullmatch(r"[A-Za-z0-9._-]+", archive.name):
            raise ConfigurationError(
                f"{archive}: TorchServe can't load this name; give it letters, digits, '.', '_' and '-' alone"
            )
        try:
            with zipfile.ZipFile(archive) as content:
                model = json.loads(content.read("MAR-INF/MANIFEST.json"))["model"]
            return cls(model["modelName"], model["modelVersion"])
        except FileNotFoundError:
            raise ConfigurationError(f"{archive} doesn't exist") from None
        except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"{archive} is not a model archive: {error}") from None


def checksum(archive: Path) -> int:
    """A checksum over the names and checksums in an archive; cheap, whatever the archive's size."""
    with zipfile.ZipFile(archive) as content:
        return zlib.crc32(repr(sorted((each.filename, each.CRC) for each in content.infolist())).encode())
