"""Real TorchServes for the service tests, each in a folder and on ports of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.server import Ports, TorchServe


@pytest.fixture(scope="session")
def server(tiny_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    """A ready server with the tiny model; tests that share it must leave it as it was."""
    with TorchServe(tmp_path_factory.mktemp("ts"), [tiny_archive], Ports.free()) as running:
        yield running


@pytest.fixture(scope="session")
def url(server: TorchServe) -> str:
    """Where the tiny model is asked."""
    return f"{server.url}/predictions/nli"
