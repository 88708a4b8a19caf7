"""What runs outside the worker: one verb a file here, and the rooms that the verbs call."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
"""The project's folder."""

CONFIG = PROJECT / "config"
"""What TorchServe, nginx and the monitors read."""
