"""The saved state: what was registered when the service last ran, so that a restart brings it back.

TorchServe writes a snapshot whenever a version is registered, promoted, scaled or removed, before it answers
the call. So no change is missed, by any client, and a `kill -9` leaves the last snapshot complete.
TorchServe itself could only read a snapshot together with all its settings of that time. So snapshots are
read here, and what they say of the models is handed to the next start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from handler.errors import ConfigurationError
from scripts.torchserve.archives import ArchiveName, checksum
from scripts.torchserve.properties import unescape
from scripts.torchserve.server import StartError, TorchServe

SNAPSHOTS = "logs/config"
RECORD = "registered.json"


@dataclass(frozen=True, slots=True)
class SavedState:
    """What a service was started with, and what it served in the end."""

    started_with: dict[str, Any]
    """What was asked for at its start, see `describe_start`."""
    store: Path
    snapshot: dict[str, Any]
    """TorchServe's description, by model and version: the archive, the workers, which is the default."""
    ready: bool = True
    """Whether the service became ready; else its own snapshots don't count, but this one."""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read what a service in `folder` had registered; None where no service was ever ready there.

        Raises:
            ConfigurationError: the record is damaged.
        """
        file = folder / RECORD
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            state = cls(**content | {"store": Path(content["store"])})
            newest = _newest_snapshot(folder) if state.ready else None
            return replace(state, snapshot=newest or state.snapshot)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigurationError(f"{file} is damaged ({error}); start anew with --fresh") from None

    def write(self, folder: Path) -> None:
        """Replace the record in `folder`."""
        scratch = folder / (RECORD + ".new")
        scratch.write_text(json.dumps(asdict(self), indent=2, default=str), encoding="utf-8")
        scratch.replace(folder / RECORD)

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

    def settings(self) -> dict[str, str]:
        """The settings with which TorchServe brings back versions, default and workers at its start."""
        return {"model_snapshot": json.dumps(self.snapshot)}


def describe_start(archives: Sequence[Path], workers: int | None, shipped: bool = False) -> dict[str, Any]:
    """Describe what a service is asked to serve: the archives' content, whatever their times.

    Raises:
        ConfigurationError: one is missing or isn't a model archive.
    """
    for archive in archives:
        ArchiveName.of(archive)
    return {
        "archives": {archive.name: checksum(archive) for archive in archives},
        "workers": workers,
        "shipped": shipped,
    }


def record_start(folder: Path, previous: SavedState | None) -> None:
    """Prepare a start: until it is ready, the previous state counts, and not what the start does."""
    if previous is None:
        (folder / RECORD).unlink(missing_ok=True)
    else:
        replace(previous, ready=False).write(folder)
    for file in (folder / SNAPSHOTS).glob("*.cfg"):
        file.unlink()


def record_ready(server: TorchServe, started_with: dict[str, Any]) -> None:
    """Record that the server is ready: from now on its snapshots count.

    Raises:
        StartError: the server has written none.
    """
    snapshot = _newest_snapshot(server.folder)
    if snapshot is None:
        raise StartError(f"TorchServe left no snapshot in {server.folder / SNAPSHOTS}")
    SavedState(started_with, server.archives[0].parent, snapshot).write(server.folder)


def _newest_snapshot(folder: Path) -> dict[str, Any] | None:
    """The models in TorchServe's newest complete snapshot; the names of the files sort by time."""
    for file in sorted((folder / SNAPSHOTS).glob("*.cfg"), reverse=True):
        found = re.search(r"^model_snapshot=(.*)$", file.read_text(encoding="latin-1"), re.MULTILINE)
        try:
            snapshot: dict[str, Any] = json.loads(unescape(found[1])) if found else {}
        except ValueError:
            continue  # cut short by a kill; the one before it counts
        if snapshot.get("models"):
            return snapshot
    return None
