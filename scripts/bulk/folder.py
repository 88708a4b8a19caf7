"""A folder of files on this machine or on anything that fsspec opens; a file appears whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import uuid4

import fsspec

UNFINISHED = "_temporary"
"""The folder in which files lie under temporary names until they are whole."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder by its path or URL; credentials are taken from where fsspec's file system looks for them."""

    url: str

    @property
    def root(self) -> str:
        """The path in its file system."""
        return str(self._place()[1]).rstrip("/")

    def names(self) -> list[str]:
        """Relative names of all files, sorted, without hidden ones: those in whose path a part begins with
        `.` or `_`.
        """
        system, root = self._place()
        found = [str(path)[len(self.root) + 1 :] for path in system.find(root)]
        return sorted(
            name for name in found if not any(part.startswith((".", "_")) for part in name.split("/"))
        )

    def exists(self, name: str) -> bool:
        """Whether there is a file or a folder of that name."""
        return bool(self._place()[0].exists(f"{self.root}/{name}"))

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for reading at any place."""
        with self._place()[0].open(f"{self.root}/{name}", "rb") as file:
            yield file

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """A path at which this machine has the file, which is copied where it is elsewhere."""
        system, _ = self._place()
        if "file" in _protocols(system):
            yield Path(self.root, name)
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, name.rpartition("/")[2])
            system.get_file(f"{self.root}/{name}", str(copy))
            yield copy

    @contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """Write a file, which gets its name when the block has ended without an error.

        It gathers in an unnamed file of this machine, is copied to a temporary name in the folder, and
        renamed, which is one step on file systems and object stores alike.
        """
        system, _ = self._place()
        with tempfile.TemporaryFile() as gathered:
            yield cast(BinaryIO, gathered)
            gathered.seek(0)
            target, waiting = f"{self.root}/{name}", f"{self.root}/{UNFINISHED}/{uuid4().hex}"
            for path in (waiting, target):
                system.makedirs(path.rpartition("/")[0], exist_ok=True)
            try:
                with system.open(waiting, "wb") as file:
                    shutil.copyfileobj(gathered, file, 2**20)
                system.mv(waiting, target)
            except FileNotFoundError:
                # The same command has been at work twice, and the other one, which is done, has cleared up.
                if not system.exists(target):
                    raise

    def remove(self, name: str) -> None:
        """Remove a file or a folder with what it holds, if it is there."""
        if self.exists(name):
            self._place()[0].rm(f"{self.root}/{name}", recursive=True)

    def _place(self) -> tuple[Any, str]:
        system, path = fsspec.core.url_to_fs(self.url)
        return system, path


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)
