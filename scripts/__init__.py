"""What runs outside the worker: one verb a file here, and the rooms that the verbs call."""

import tomllib
from pathlib import Path

import handler  # noqa: F401  before any module here imports openvino, whose telemetry it hides

PROJECT = Path(__file__).resolve().parent.parent
"""The project's folder."""

VERSION: str = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
"""The project's version, which pyproject.toml states."""

CONFIG = PROJECT / "config"
"""What TorchServe, nginx and the monitors read."""
