"""The settings of the gateway: what is refused, and the configuration that is made of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from handler.errors import ConfigurationError
from scripts import CONFIG, PROJECT
from scripts.torchserve.gateway_settings import ANSWER_SECONDS, TEMPLATE, Address, GatewaySettings, read_keys

KEY = "0123456789abcdef0123456789abcdef"
SERVICE = Address("127.0.0.1", 8080)
LISTEN = Address("127.0.0.1", 8000)


@pytest.mark.parametrize("text", ["127.0.0.1:8000", "service:8080", "[::1]:8000"])
def test_an_address_is_read_and_written_alike(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["8000", "127.0.0.1", "a b:80", "host:0", "host:65536", "host:80; include x", "", "a:b:1", "h:²"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="host:port"):
        Address.parse(text)


def test_an_address_is_checked_however_it_is_made() -> None:
    with pytest.raises(ConfigurationError, match="host:port"):
        Address("127.0.0.1:1; } http {", 80)


def test_keys_are_read_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# for the shop\n{KEY}\n\n  {KEY.upper()}\n", encoding="utf-8")
    assert read_keys(file) == (KEY, KEY.upper())


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


def test_the_configuration_holds_what_was_asked_for() -> None:
    made = GatewaySettings(
        service=SERVICE,
        listen=LISTEN,
        model="mine-2.0",
        keys=(KEY,),
        trusted_proxies=("10.0.0.0/8", "::1"),
        rate=20,
        large_rate=3,
        answer_seconds=7,
    ).configuration(1000)
    for line in (
        "listen 127.0.0.1:8000 backlog=4096;",
        "server 127.0.0.1:8080 max_fails=0;",
        "server 127.0.0.1:8085 max_fails=0;",
        r"location ~ ^/((predictions|explanations)/\Qmine-2.0\E|",
        "proxy_pass http://service/predictions/mine-2.0;",
        "proxy_read_timeout 7s;",
        f'default 1; "~^Bearer {KEY}$" 0;',
        "set_real_ip_from 10.0.0.0/8; set_real_ip_from ::1;",
        "zone=requests:10m rate=20r/s;",
        "limit_req zone=requests burst=40 nodelay;",
        "zone=large_bodies:10m rate=3r/s;",
        "zone=explanations:10m rate=171r/m;",
        "limit_req zone=explanations burst=5 nodelay;",
        "worker_connections 1000;",
        "worker_rlimit_nofile 2000;",
    ):
        assert line in made
    assert re.findall(r"\$\{[A-Z_]+\}", made) == []
    assert "predictions/nli" not in made
    elsewhere = GatewaySettings(service=SERVICE, listen=LISTEN, readiness=Address("probe", 1))
    assert "server probe:1 max_fails=0;" in elsewhere.configuration(1000)
    several = GatewaySettings(service=SERVICE, listen=LISTEN, others=(Address("b", 80), Address("[::1]", 90)))
    for servers in ("server b:80 max_fails=0; server [::1]:90", "server b:85 max_fails=0; server [::1]:95"):
        assert servers in several.configuration(1000)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"others": (SERVICE,)}, "each service can be named once"),
        ({"others": (LISTEN,), "readiness": LISTEN}, "with several services each is asked for readiness"),
        ({"model": "nli; include /etc/passwd"}, "a model's name is"),
        ({"model": ""}, "a model's name is"),
        ({"model": "nli\n"}, "a model's name is"),
        ({"keys": ('x" 0; default 0',)}, "a key is 24 to 128"),
        ({"trusted_proxies": ("10.0.0.1; deny all",)}, "a trusted proxy is"),
        ({"trusted_proxies": ("10.0.0.1/8",)}, "has host bits set"),
        ({"trusted_proxies": ("none", "::1")}, "a trusted proxy is"),
        ({"rate": 0}, "rate must be from 1"),
        ({"large_rate": -1}, "large_rate must be from 1"),
        ({"answer_seconds": 0}, "answer_seconds must be from 1"),
    ],
    ids=str,
)
def test_what_nginx_would_read_otherwise_is_refused(value: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(complaint)):
        GatewaySettings(**{"service": SERVICE, "listen": LISTEN} | value)


@pytest.mark.parametrize(("limit", "answer"), [(4096, "2048"), (64, "the gateway needs 512 open files")])
def test_connections_follow_the_limit_of_open_files(limit: int, answer: str) -> None:
    ask = "from scripts.torchserve.gateway_settings import possible_connections as p; print(p())"
    shell = f'ulimit -n {limit}; exec "{sys.executable}" -c "{ask}"'
    done = subprocess.run(["bash", "-c", shell], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert answer in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["config.properties", "production.properties"])
def test_the_body_limit_is_the_services_own(name: str) -> None:
    (ours,) = re.findall(r"client_max_body_size (\d+);", TEMPLATE.read_text(encoding="utf-8"))
    properties = (CONFIG / name).read_text(encoding="utf-8")
    assert re.findall(r"^max_request_size=(\d+)$", properties, re.MULTILINE) == [ours]


def test_the_service_gives_up_before_the_gateway_does() -> None:
    handler = yaml.safe_load((CONFIG / "model-config.yaml").read_text(encoding="utf-8"))["handler"]
    assert handler["deadline_seconds"] < ANSWER_SECONDS
    template = TEMPLATE.read_text(encoding="utf-8")
    assert re.findall(r"proxy_next_upstream_timeout (\d+)s;", template) == [str(handler["deadline_seconds"])]
