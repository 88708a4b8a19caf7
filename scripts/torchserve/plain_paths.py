"""Paths of plain characters for TorchServe, whatever the real ones are called.

TorchServe and Java misread some paths: Hangul where the locale isn't UTF-8, spaces and `%` in the path of the
logging configuration, `${` in that of the logs, and more than 108 bytes in a worker's socket. A path with any
of these is replaced by a link, or by a copy of the file, in a private folder of the system's temporary one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

from handler.errors import ConfigurationError

LONGEST = 70
"""Characters of a path that leave room for `/tmp/.ts.sock.9000` within a socket's 108 bytes."""


class PlainPaths:
    """The replacements for one server, in a folder whose name follows from that of the server's folder."""

    def __init__(self, folder: Path) -> None:
        """Choose the folder for links and copies; it is created when it is needed."""
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        self._links = Path(tempfile.gettempdir()) / f"korean-nli-{os.getuid()}-{name}"

    def of(self, path: Path, name: str) -> Path:
        """The path itself if it is plain, else a link to the folder, or a copy of the file, called `name`.

        Raises:
            ConfigurationError: the folder for links belongs to somebody else, or can't be written.
        """
        if _is_plain(path):
            return path
        replacement = self._links / name
        try:
            self._links.mkdir(mode=0o700, exist_ok=True)
            found = self._links.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
                raise PermissionError(None, "it belongs to somebody else")
            if not _is_plain(replacement):
                raise PermissionError(None, "its own path is not plain")
            replacement.unlink(missing_ok=True)
            if path.is_dir():
                replacement.symlink_to(path)
            else:
                shutil.copyfile(path, replacement)
        except OSError as error:
            raise ConfigurationError(
                f"{self._links} can't be used ({error.strerror}); name another folder in TMPDIR"
            ) from None
        return replacement

    def remove(self) -> None:
        """Remove all links and copies; safe to call again."""
        shutil.rmtree(self._links, ignore_errors=True)


def _is_plain(path: Path) -> bool:
    return len(str(path)) <= LONGEST and re.fullmatch(r"[A-Za-z0-9/._-]+", str(path)) is not None
