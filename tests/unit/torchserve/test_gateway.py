"""The gateway where nginx is missing, and where it ends by itself."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from scripts import gateway as gateway_verb
from scripts.torchserve import gateway
from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings
from scripts.torchserve.ports import Ports
from scripts.torchserve.processes import StartError
from tests.programs import need


def test_a_missing_nginx_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gateway, "SYSTEM_PROGRAMS", str(tmp_path))
    listen = Address("127.0.0.1", Ports.free().inference)
    with pytest.raises(ConfigurationError, match="needs nginx, which isn't installed"):
        Gateway(tmp_path / "log", GatewaySettings(service=Address("127.0.0.1", 1), listen=listen)).start()


@pytest.mark.parametrize("log", ["-", "gateway.log"])
def test_where_nginx_ends_the_error_names_what_was_said(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("nginx")
    listen = Address("127.0.0.1", Ports.free().inference)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gateway.py", "--listen", str(listen), "--log", log])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(Gateway, "is_running", lambda _: False)
    with pytest.raises(StartError, match=f"see {'above' if log == '-' else log}$"):
        gateway_verb.main()
