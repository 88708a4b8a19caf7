"""Starting the gateway where nginx is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from scripts.torchserve import gateway
from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings
from scripts.torchserve.ports import Ports


def test_a_missing_nginx_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gateway, "SYSTEM_PROGRAMS", str(tmp_path))
    listen = Address("127.0.0.1", Ports.free().inference)
    with pytest.raises(ConfigurationError, match="needs nginx, which isn't installed"):
        Gateway(tmp_path / "log", GatewaySettings(service=Address("127.0.0.1", 1), listen=listen)).start()
