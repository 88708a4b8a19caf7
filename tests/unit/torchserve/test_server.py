"""What a server refuses before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from scripts.torchserve.ports import Ports
from scripts.torchserve.server import TorchServe


def test_token_mode_is_refused(tiny_archive: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.properties"
    config.write_text("disable_token_authorization=false\n", encoding="utf-8")
    server = TorchServe(tmp_path / "ts", [tiny_archive], Ports.free(), config=config)
    with pytest.raises(ConfigurationError, match="disable_token_authorization must be true"):
        server.start()
    assert not server.is_running()
