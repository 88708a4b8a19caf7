"""A folder as a person names it, before other processes get it."""

from __future__ import annotations

import os
from pathlib import Path

from handler.errors import ConfigurationError, one_line
from scripts.bulk.folder import Folder


def folder_at(place: str) -> Folder:
    """The folder at a URL or a path, which becomes absolute: Ray's processes have other working folders.

    Raises:
        ConfigurationError: nothing that is installed opens such a URL.
    """
    # Not Path.resolve: a link may lead elsewhere on another machine.
    local = os.path.abspath(Path(place).expanduser())  # noqa: PTH100
    folder = Folder(place if "://" in place else local)
    try:
        _ = folder.root  # for which fsspec must have the URL's file system
    except (ImportError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"{place} can't be opened: {one_line(error)}; "
            "a URL needs fsspec's package for its kind in .venv, such as s3fs for s3://"
        ) from None
    return folder
