"""Addresses at which clients ask: TorchServe's own, and a gateway's before it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import PROJECT
from scripts.model.archive import archive_of
from scripts.serve import DEMO
from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings
from scripts.torchserve.management import Management
from scripts.torchserve.readiness import Readiness
from scripts.torchserve.server import Ports, TorchServe
from tests.programs import need
from tests.service.versions import write_biased_archive


@pytest.fixture(scope="session")
def store(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions that can be told apart."""
    folder, scratch = tmp_path_factory.mktemp("versions"), tmp_path_factory.mktemp("biased")
    for version in ("1.0", "2.0"):
        write_biased_archive(folder, scratch, pretrained, version)
    return folder


@pytest.fixture(scope="session")
def shipped_int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model's archive in int8, as `scripts/serve` builds it: without NNCF."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "nncf", None)
        return archive_of(DEMO, tmp_path_factory.mktemp("shipped"), precision="int8")


@pytest.fixture(scope="module")
def gateway_address(server: TorchServe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway that lets one client ask as fast as it likes."""
    need("nginx")
    readiness = Ports.free().inference
    settings = GatewaySettings(
        service=Address("127.0.0.1", server.ports.inference),
        listen=Address("127.0.0.1", Ports.free().inference),
        readiness=Address("127.0.0.1", readiness),
        rate=1000,
        large_rate=1000,
    )
    log = tmp_path_factory.mktemp("gateway") / "gateway.log"
    with Readiness(Management(server.management_url), readiness), Gateway(log, settings) as running:
        yield running.url


@pytest.fixture(params=["at TorchServe", "through the gateway"])
def address(request: pytest.FixtureRequest, server: TorchServe) -> str:
    """Each of the two in turn."""
    at_torchserve = request.param == "at TorchServe"
    return server.url if at_torchserve else str(request.getfixturevalue("gateway_address"))


@pytest.fixture(scope="session")
def kserve_python() -> Path:
    """An interpreter that has KServe's package, whose requirements and ours exclude each other."""
    python = Path(os.environ.get("KSERVE_PYTHON", PROJECT / ".venv-kserve" / "bin" / "python"))
    if not python.exists():
        pytest.skip(
            "KServe's client isn't installed (python3.11 -m venv .venv-kserve && "
            ".venv-kserve/bin/pip install -r tests/service/kserve_client.txt)"
        )
    return python
