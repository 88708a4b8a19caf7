"""What a server refuses before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from scripts.torchserve.gateway_settings import Address
from scripts.torchserve.ports import Ports
from scripts.torchserve.properties import to_properties
from scripts.torchserve.server import StartError, TorchServe
from tests.unit.torchserve.packing import write_archive


def test_token_mode_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "nli-1.0.mar"
    write_archive(archive, "1.0")
    config = tmp_path / "config.properties"
    config.write_text("disable_token_authorization=false\n", encoding="utf-8")
    server = TorchServe(tmp_path / "ts", [archive], Ports.free(), config=config)
    with pytest.raises(ConfigurationError, match="disable_token_authorization must be true"):
        server.start()
    assert not server.is_running()


def test_an_archive_that_torchserve_could_not_load_by_its_name_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "우리,모델.mar"
    write_archive(archive, "1.0")
    with pytest.raises(ConfigurationError, match=f"{archive}: TorchServe can't load this name"):
        TorchServe(tmp_path / "ts", [archive], Ports.free()).start()


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    archive = tmp_path / "nli-1.0.mar"
    write_archive(archive, "1.0")
    (tmp_path / "ts").mkdir()
    (tmp_path / "ts" / "logs").touch()
    with pytest.raises(StartError, match=r"TorchServe can't be started: .*File exists"):
        TorchServe(tmp_path / "ts", [archive], Ports.free()).start()


def test_the_settings_are_those_of_the_server_and_readable_for_java(tmp_path: Path) -> None:
    archive = tmp_path / "nli-1.0.mar"
    write_archive(archive, "1.0")
    ports = Ports.following(9000, metrics=Address("0.0.0.0", 99))
    server = TorchServe(tmp_path / "ts", [archive], ports, settings={"model_snapshot": '{"이름": "\\"}'})
    written = dict(line.split("=", 1) for line in to_properties(server.properties()).splitlines())
    assert written["metrics_address"] == "http://0.0.0.0:99"
    assert written["management_address"] == "http://127.0.0.1:9001"
    assert written["load_models"] == "nli-1.0.mar"
    assert written["model_snapshot"].isascii()
