"""Java's properties format, in which TorchServe reads its settings and writes its snapshots."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

SPECIAL = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}


def read_settings(file: Path) -> dict[str, str]:
    """The settings of a file in `config/`, which has one on each line, without escapes."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def to_properties(settings: Mapping[str, str]) -> str:
    r"""Settings as Java reads them: in Latin-1, with ``\`` doubled and other characters as ``\uXXXX``."""
    return "".join(f"{key}={_escape(value)}\n" for key, value in settings.items())


def unescape(value: str) -> str:
    r"""A value as Java writes it: ``\n``, ``\u00e9``, and ``\:`` for a colon."""
    return re.sub(
        r"\\(u([0-9a-fA-F]{4})|.)",
        lambda found: chr(int(found[2], 16)) if found[2] else SPECIAL.get(found[1], found[1]),
        value,
    )


def _escape(value: str) -> str:
    units = value.replace("\\", "\\\\").replace("\n", "\\n").encode("utf-16-be")
    codes = (int.from_bytes(units[index : index + 2]) for index in range(0, len(units), 2))
    return "".join(chr(code) if 32 <= code < 127 else f"\\u{code:04x}" for code in codes)
