"""The compose file and the Dockerfile, as far as they can be held against the project without Docker."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from scripts import PROJECT
from scripts.torchserve.server import Ports

DEPLOY = PROJECT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def mounts(service: str) -> list[tuple[Path, str]]:
    volumes = [str(volume).split(":") for volume in SERVICES[service]["volumes"]]
    return [(DEPLOY / source, target) for source, target, *_ in volumes if source.startswith(".")]


def test_every_mounted_file_is_there_and_cant_be_written() -> None:
    for service in SERVICES:
        for source, _ in mounts(service):
            assert source.is_file(), source
    assert sum(len(mounts(service)) for service in SERVICES) == 6
    assert not re.search(r"- \.\./\S+(?<!:ro)$", (DEPLOY / "compose.yml").read_text(), re.MULTILINE)


def test_only_loopback_of_the_host_is_published() -> None:
    assert [port for service in SERVICES.values() for port in service.get("ports", [])] == [
        f"127.0.0.1:{port}:{port}" for port in (8000, 9090, 3000)
    ]
    alone = [name for name, service in SERVICES.items() if service.get("network_mode") != "service:gateway"]
    assert alone == ["gateway"]


def test_images_are_pinned_and_unprivileged() -> None:
    for image in [service["image"] for service in SERVICES.values() if "build" not in service]:
        assert re.search(r":v?\d+\.\d+\.\d+", image)
    assert re.search(r"^FROM python:3\.11\.\d+-slim", DOCKERFILE, re.MULTILINE)
    users = re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE)
    assert users == ["nli"]
    assert all(service["cap_drop"] == ["ALL"] for service in SERVICES.values())


def test_the_addresses_are_those_of_the_configuration() -> None:
    ports = Ports()
    assert SERVICES["gateway"]["environment"]["SERVICE"] == f"127.0.0.1:{ports.inference}"
    scraped = yaml.safe_load((PROJECT / "config" / "prometheus.yml").read_text(encoding="utf-8"))
    targets = scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == [f"127.0.0.1:{ports.metrics}"]
    assert f"127.0.0.1:{ports.readiness}/ready" in DOCKERFILE
    names = set(
        re.findall(r"\$\{([A-Z_]+)\}", (PROJECT / "config" / "nginx.conf").read_text(encoding="utf-8"))
    )
    assert names == set(SERVICES["gateway"]["environment"])
    assert names == set(re.findall(r"\$\$([A-Z_]+)", SERVICES["gateway"]["entrypoint"][2]))


def test_grafana_finds_its_parts() -> None:
    grafana = PROJECT / "config" / "grafana"
    (source,) = yaml.safe_load((grafana / "datasources.yml").read_text(encoding="utf-8"))["datasources"]
    board = json.loads((grafana / "korean-nli.json").read_text(encoding="utf-8"))
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["uid"]}
    (provider,) = yaml.safe_load((grafana / "dashboards.yml").read_text(encoding="utf-8"))["providers"]
    targets = [target for _, target in mounts("grafana")]
    assert f"{provider['options']['path']}/korean-nli.json" in targets


def test_what_the_dockerfile_copies_isnt_ignored_and_its_command_exists() -> None:
    allowed = set(
        re.findall(r"^!(\S+)$", (PROJECT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    )
    copied = set(re.findall(r"^COPY (\S+) ", DOCKERFILE, re.MULTILINE))
    assert copied == allowed
    found = re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert found, "the exec form, so that signals reach Python"
    command = json.loads(found[1])
    script = (PROJECT / command[1]).read_text(encoding="utf-8")
    assert all(f'"{option}"' in script for option in command if option.startswith("--"))
    assert (PROJECT / command[command.index("--config") + 1]).is_file()
