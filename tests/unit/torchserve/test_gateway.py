"""What the gateway is told: addresses, keys, and the configuration that comes of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from handler.errors import ConfigurationError
from scripts import CONFIG
from scripts.torchserve import gateway
from scripts.torchserve.gateway import TEMPLATE, Address, Gateway, read_keys
from scripts.torchserve.ports import Ports

KEY = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("text", ["127.0.0.1:8000", "service:8080", "[::1]:8000"])
def test_an_address_is_read_and_written_alike(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["8000", "127.0.0.1", "a b:80", "host:0", "host:65536", "host:80; include x", ""]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="host:port"):
        Address.parse(text)


def test_keys_are_read_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# for the shop\n{KEY}\n\n  {KEY.upper()}\n", encoding="utf-8")
    assert read_keys(file) == [KEY, KEY.upper()]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"# nothing\n", "holds no key"),
        (b"short\n", ":1: a key is"),
        (f'{KEY}\n{KEY}" 0; include /etc/passwd\n'.encode(), ":2: a key is"),
        (b"\xff\xfe", "can't be read"),
    ],
    ids=["no key", "too short", "more than a key", "no text"],
)
def test_bad_keys_are_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=re.escape(complaint)):
        read_keys(file)


def test_a_missing_file_of_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        read_keys(tmp_path / "keys")


def test_the_configuration_holds_what_was_asked_for(tmp_path: Path) -> None:
    made = Gateway(
        tmp_path / "log", Address("127.0.0.1", 8080), Address("127.0.0.1", 8000), "mine", [KEY], 7
    ).configuration()
    assert "listen 127.0.0.1:8000;" in made
    assert "server 127.0.0.1:8080;" in made
    assert "proxy_pass http://service/predictions/mine;" in made
    assert "proxy_read_timeout 7s;" in made
    assert f'default 1; "~^Bearer {KEY}$" 0;' in made
    assert re.findall(r"\$\{[A-Z_]+\}", made) == []


@pytest.mark.parametrize("name", ["config.properties", "production.properties"])
def test_the_body_limit_is_the_services_own(name: str) -> None:
    (ours,) = re.findall(r"client_max_body_size (\d+);", TEMPLATE.read_text(encoding="utf-8"))
    properties = (CONFIG / name).read_text(encoding="utf-8")
    assert re.findall(r"^max_request_size=(\d+)$", properties, re.MULTILINE) == [ours]


def test_a_missing_nginx_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gateway, "SYSTEM_PROGRAMS", str(tmp_path))
    listen = Address("127.0.0.1", Ports.free().inference)
    with pytest.raises(ConfigurationError, match="needs nginx, which isn't installed"):
        Gateway(tmp_path / "log", Address("127.0.0.1", 1), listen).start()
