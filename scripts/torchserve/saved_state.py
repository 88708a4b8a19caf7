"""What was registered when the service last ran, so that a restart brings it back.

TorchServe itself writes a snapshot whenever a version is registered, promoted, scaled or removed, before it
answers the call; so nothing is missed, whoever called, and a `kill -9` finds the last one complete. It
would read them back only together with all its settings of that time. So they are read here, and what
they say of the models is handed to the next start.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from handler.errors import ConfigurationError
from scripts.torchserve.server import ArchiveName, TorchServe

SNAPSHOTS = "logs/config"
RECORD = "registered.json"


@dataclass(frozen=True, slots=True)
class Registered:
    """What a service was started with, and what it served in the end."""

    started_with: dict[str, Any]
    """What was asked for at its start, see `describe_start`."""
    store: Path
    snapshot: dict[str, Any]
    """TorchServe's own words: by model and version the archive, the workers, which is the default."""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What a service that ran in `folder` had registered, or None where none ever was ready there.

        Raises:
            ConfigurationError: the record is damaged.
        """
        file = folder / RECORD
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            # A start that never came to readiness says nothing; what it should have brought back counts.
            snapshot = (_newest_snapshot(folder) if content["ready"] else None) or content["snapshot"]
            return cls(content["started_with"], Path(content["store"]), snapshot)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigurationError(f"{file} is damaged ({error}); start anew with --fresh") from None

    def archives(self) -> list[Path]:
        """The archives to serve, the default version first.

        Raises:
            ConfigurationError: one is no longer in the model store, or holds another version now.
        """
        found: list[tuple[bool, Path]] = []
        for model, versions in self.snapshot["models"].items():
            for version, state in versions.items():
                archive = self.store / state["marName"]
                if not archive.exists() or ArchiveName.of(archive) != ArchiveName(model, version):
                    raise ConfigurationError(
                        f"version {version} of {model} was registered from {archive}, which is gone or holds "
                        "another version; put it back, or start anew with --fresh"
                    )
                found.append((not state["defaultVersion"], archive))
        return [archive for _, archive in sorted(found)]

    @property
    def is_shipped_model(self) -> bool:
        """Whether nobody had chosen a model, so that a new build of the shipped one may take its place."""
        return bool(self.started_with.get("shipped"))

    def settings(self) -> dict[str, str]:
        """What makes TorchServe bring back versions, default and workers at its start."""
        return {"model_snapshot": json.dumps(self.snapshot)}


def describe_start(archives: Sequence[Path], workers: int | None, shipped: bool = False) -> dict[str, Any]:
    """What a service is asked to serve: the archives' content, whenever they were written.

    Raises:
        ConfigurationError: one is missing or isn't a model archive.
    """
    for archive in archives:
        ArchiveName.of(archive)
    return {
        "archives": {archive.name: _content(archive) for archive in archives},
        "workers": workers,
        "shipped": shipped,
    }


def record_start(folder: Path, previous: Registered | None) -> None:
    """Prepare a start: until it is ready, what was registered before it counts, and not what it does."""
    if previous is None:
        (folder / RECORD).unlink(missing_ok=True)
    else:
        _write(folder, previous, ready=False)
    for file in (folder / SNAPSHOTS).glob("*.cfg"):
        file.unlink()


def record_ready(server: TorchServe, started_with: dict[str, Any]) -> None:
    """Note that the server is ready: from now on its snapshots count.

    Raises:
        ConfigurationError: it has written none.
    """
    snapshot = _newest_snapshot(server.folder)
    if snapshot is None:
        raise ConfigurationError(f"TorchServe left no snapshot in {server.folder / SNAPSHOTS}")
    _write(server.folder, Registered(started_with, server.archives[0].parent, snapshot), ready=True)


def _write(folder: Path, registered: Registered, ready: bool) -> None:
    content = {
        "ready": ready,
        "started_with": registered.started_with,
        "store": str(registered.store),
        "snapshot": registered.snapshot,
    }
    scratch = folder / (RECORD + ".new")
    scratch.write_text(json.dumps(content, indent=2), encoding="utf-8")
    scratch.replace(folder / RECORD)


def _newest_snapshot(folder: Path) -> dict[str, Any] | None:
    """The models in TorchServe's newest complete snapshot; the names of the files sort by time."""
    for file in sorted((folder / SNAPSHOTS).glob("*.cfg"), reverse=True):
        found = re.search(r"^model_snapshot=(.*)$", file.read_text(encoding="latin-1"), re.MULTILINE)
        try:
            snapshot: dict[str, Any] = json.loads(_unescape(found[1])) if found else {}
        except ValueError:
            continue  # cut short by a kill; the one before it counts
        if snapshot.get("models"):
            return snapshot
    return None


def _unescape(value: str) -> str:
    r"""A value of a Java properties file: ``\n``, ``\u00e9``, and ``\:`` for a colon."""
    special = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
    return re.sub(
        r"\\(u([0-9a-fA-F]{4})|.)",
        lambda found: chr(int(found[2], 16)) if found[2] else special.get(found[1], found[1]),
        value,
    )


def _content(archive: Path) -> int:
    """A checksum over names and checksums in an archive; cheap, whatever its size."""
    with zipfile.ZipFile(archive) as content:
        return zlib.crc32(repr(sorted((each.filename, each.CRC) for each in content.infolist())).encode())
