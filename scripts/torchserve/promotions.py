"""The last promotion of each model, kept in a file, so that it can be undone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.torchserve.management import Management, OperationError


@dataclass(frozen=True, slots=True)
class Promotion:
    """A change of the default version."""

    previous: str
    promoted: str


class Promotions:
    """The last promotion of each model of each server, in one file."""

    def __init__(self, file: Path, management: Management) -> None:
        """Name the file, which the first promotion writes, and the model."""
        self._file = file
        self._key = f"{management.url}/models/{management.model}"

    def last(self) -> Promotion | None:
        """The model's last promotion, or None where the file holds none."""
        try:
            return Promotion(**self._read()[self._key])
        except (KeyError, TypeError):
            return None

    def remember(self, promotion: Promotion | None) -> None:
        """Replace the model's last promotion.

        Raises:
            OperationError: the file can't be written.
        """
        content = self._read()
        content.pop(self._key, None)
        if promotion is not None:
            content[self._key] = asdict(promotion)
        scratch = self._file.with_suffix(".new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            scratch.write_text(json.dumps(content, indent=2), encoding="utf-8")
            scratch.replace(self._file)
        except OSError as error:
            raise OperationError(
                f"a promotion can't be remembered in {self._file} ({error.strerror}); "
                "name another folder with --folder"
            ) from None

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}
