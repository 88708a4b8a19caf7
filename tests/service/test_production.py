"""`config/production.properties` on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from scripts import CONFIG
from scripts.torchserve.management import Management
from scripts.torchserve.server import Ports, TorchServe


@pytest.fixture(scope="module")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DEPLOY_TOKEN", "nothing for a worker")
        environment.setenv("DEPLOY_STAGE", "test")
        server = TorchServe(
            tmp_path_factory.mktemp("ts"),
            [store / "nli-1.0.mar"],
            Ports.free(),
            config=CONFIG / "production.properties",
        )
        with server:
            yield server


def test_workers_do_not_see_secrets(server: TorchServe) -> None:
    (pid,) = server.worker_pids()
    environment = psutil.Process(pid).environ()
    assert environment["DEPLOY_STAGE"] == "test"
    assert "DEPLOY_TOKEN" not in environment


def test_only_the_model_store_is_read_and_it_is_only_read(
    server: TorchServe, store: Path, tmp_path: Path
) -> None:
    stray = tmp_path / "stray.mar"
    stray.write_bytes((store / "nli-2.0.mar").read_bytes())
    before = {file.name: file.stat() for file in store.iterdir()}
    for url in (str(stray), stray.as_uri(), f"../{stray.name}", "http://127.0.0.1:9/stray.mar"):
        answer = requests.post(f"{server.management_url}/models", params={"url": url}, timeout=60)
        assert (answer.status_code, answer.json()["type"]) == (404, "ModelNotFoundException"), url
    management = Management(server.management_url)
    management.register("nli-2.0.mar", 1, 300)
    management.remove("2.0")
    after = {file.name: file.stat() for file in store.iterdir()}
    assert {name: (stat.st_size, stat.st_mtime_ns) for name, stat in after.items()} == {
        name: (stat.st_size, stat.st_mtime_ns) for name, stat in before.items()
    }


def test_memory_is_bounded(server: TorchServe) -> None:
    java = psutil.Process(server.worker_pids()[0]).parent()
    assert java
    assert {"-Xmx256m", "-XX:MaxDirectMemorySize=256m", "-XX:+ExitOnOutOfMemoryError"} <= set(java.cmdline())
