"""The compose file and the Dockerfile, as far as they can be held against the project without Docker."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import PROJECT
from scripts.gateway import main as gateway_verb
from scripts.torchserve import gateway
from scripts.torchserve.gateway_settings import CONNECTIONS
from scripts.torchserve.server import Ports
from scripts.torchserve.service import STOP_SECONDS
from tests.commands import call

DEPLOY = PROJECT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def mounts(service: str) -> list[tuple[Path, str]]:
    volumes = [str(volume).split(":") for volume in SERVICES[service].get("volumes", [])]
    return [(DEPLOY / source, target) for source, target, *_ in volumes if source.startswith(".")]


def seconds(period: str) -> int:
    found = re.fullmatch(r"(\d+)s", period)
    assert found
    return int(found[1])


def container_command() -> list[str]:
    found = re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert found, "the exec form, so that signals reach Python"
    command: list[str] = json.loads(found[1])
    return command


def health_check() -> tuple[str, list[str]]:
    url = re.search(r"^ENV READY=(\S+)$", DOCKERFILE, re.MULTILINE)
    command = re.search(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert url
    assert command
    return url[1], json.loads(command[1])


def test_every_mounted_file_is_there_and_cant_be_written() -> None:
    for service in SERVICES:
        for source, _ in mounts(service):
            assert source.is_file(), source
    assert sum(len(mounts(service)) for service in SERVICES) == 5
    assert not re.search(r"- \.\./\S+(?<!:ro)$", (DEPLOY / "compose.yml").read_text(), re.MULTILINE)


def test_only_loopback_of_the_host_is_published() -> None:
    assert [port for service in SERVICES.values() for port in service.get("ports", [])] == [
        f"127.0.0.1:{port}:{port}" for port in (8000, 9090, 3000)
    ]
    alone = [name for name, service in SERVICES.items() if service.get("network_mode") != "service:network"]
    assert alone == ["network"]


def test_the_gateway_stops_first_and_both_have_the_time_they_need() -> None:
    command = container_command()
    delay = float(command[command.index("--drain-delay") + 1])
    needed = delay + STOP_SECONDS
    assert SERVICES["gateway"]["depends_on"] == ["service"]  # stopped in the opposite order
    assert seconds(SERVICES["service"]["stop_grace_period"]) >= needed
    assert seconds(SERVICES["gateway"]["stop_grace_period"]) > gateway.STOP_SECONDS


def test_the_gateway_trusts_the_bridge_alone() -> None:
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    assert ip_address(network["gateway"]) in ip_network(network["subnet"])
    options = dict(option.split("=") for option in SERVICES["gateway"]["command"][2:])
    assert options == {
        "--listen": "0.0.0.0:8000",
        "--trusted-proxy": network["gateway"],
        "--log": "-",
    }
    assert SERVICES["gateway"]["command"][1] == "scripts/gateway.py"
    told = call(gateway_verb, "--help").stdout
    assert all(f"{option} " in told for option in options)
    assert SERVICES["gateway"]["ulimits"]["nofile"] == 2 * CONNECTIONS


@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_asks_for_readiness_and_no_proxy(status: int) -> None:
    asked: list[str] = []

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server calls
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Ready) as service:
        thread = threading.Thread(target=service.handle_request)
        thread.start()
        url, command = health_check()
        environment = {"READY": url.replace(":8085", f":{service.server_port}")}
        environment |= dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
        done = subprocess.run(
            [sys.executable, *command[1:]], env=environment, capture_output=True, timeout=30
        )
        thread.join()
    assert asked == ["/ready"]
    assert (done.returncode == 0) == (status == 200)
    assert SERVICES["gateway"]["environment"]["READY"] == "http://127.0.0.1:8000/ready"


def test_images_are_pinned_and_unprivileged() -> None:
    for image in [service["image"] for service in SERVICES.values() if "build" not in service]:
        assert re.search(r":v?\d+\.\d+\.\d+", image)
    for program in ("nginx", "procps"):
        assert re.search(rf"apt-get install .*\b{program}\b", DOCKERFILE)
    assert re.search(r"^FROM python:3\.11\.\d+-slim", DOCKERFILE, re.MULTILINE)
    users = re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE)
    assert users == ["nli"]
    assert all(service["cap_drop"] == ["ALL"] for service in SERVICES.values())


def test_the_addresses_are_those_of_the_configuration() -> None:
    ports = Ports()
    scraped = yaml.safe_load((PROJECT / "config" / "prometheus.yml").read_text(encoding="utf-8"))
    targets = scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == [f"127.0.0.1:{ports.metrics}"]
    assert health_check()[0] == f"http://127.0.0.1:{ports.readiness}/ready"


def test_grafana_finds_its_parts() -> None:
    grafana = PROJECT / "config" / "grafana"
    (source,) = yaml.safe_load((grafana / "datasources.yml").read_text(encoding="utf-8"))["datasources"]
    board = json.loads((grafana / "korean-nli.json").read_text(encoding="utf-8"))
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["uid"]}
    (provider,) = yaml.safe_load((grafana / "dashboards.yml").read_text(encoding="utf-8"))["providers"]
    targets = [target for _, target in mounts("grafana")]
    assert f"{provider['options']['path']}/korean-nli.json" in targets
