"""`config/production.properties` on a real server, here with TorchServe's own tokens turned on besides."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from scripts import CONFIG, PROJECT
from scripts.pairs.client import Client, ServiceRefusedError
from scripts.torchserve.management import Keys, Management
from scripts.torchserve.server import Ports, TorchServe
from tests.service.loading import PAIR, write_biased_archive


@pytest.fixture(scope="module")
def store(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, scratch = tmp_path_factory.mktemp("versions"), tmp_path_factory.mktemp("biased")
    for version in ("1.0", "2.0"):
        write_biased_archive(folder, scratch, pretrained, version)
    return folder


@pytest.fixture(scope="module")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DEPLOY_TOKEN", "nothing for a worker")
        environment.setenv("DEPLOY_STAGE", "test")
        server = TorchServe(
            tmp_path_factory.mktemp("ts"),
            [store / "nli-1.0.mar"],
            Ports.free(),
            settings={"disable_token_authorization": "false"},
            config=CONFIG / "production.properties",
        )
        with server:
            yield server


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "scripts" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def key_file(server: TorchServe) -> Path:
    assert server.key_file
    return server.key_file


def test_without_a_key_nothing_is_answered(server: TorchServe) -> None:
    refused = [
        requests.get(f"{server.management_url}/models", timeout=30),
        requests.post(f"{server.url}/predictions/nli", json=PAIR, timeout=30),
        requests.get(f"{server.url}/ping", timeout=30),
    ]
    assert [answer.json()["type"] for answer in refused] == ["InvalidKeyException"] * 3
    assert key_file(server).stat().st_mode & 0o077 == 0  # nobody else may read it


def test_the_tools_take_the_keys(server: TorchServe, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manage = ["--url", server.management_url, "--inference-url", server.url]
    keyed: list[str | Path] = [*manage, "--key-file", key_file(server)]
    assert run("manage.py", *manage, "list").returncode == 1
    commands: list[list[str | Path]] = [
        ["ready"],
        ["rollout", store / "nli-2.0.mar"],
        ["rollout", store / "nli-1.0.mar"],
    ]
    for command in commands:
        done = run("manage.py", *keyed, *command)
        assert (done.returncode, done.stderr) == (0, ""), command
    ask = ["classify.py", "--url", server.url, PAIR["premise"], PAIR["hypothesis"]]
    monkeypatch.setenv("TORCHSERVE_TOKEN", Keys.read(key_file(server)).inference)
    assert run(*ask).returncode == 0
    monkeypatch.setenv("TORCHSERVE_TOKEN", "wrong")
    refused = run(*ask)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the service answered 400: Token Authorization failed" in refused.stderr


def test_keys_that_expire_are_replaced(server: TorchServe) -> None:
    before = json.loads(key_file(server).read_text(encoding="utf-8"))
    for kind in ("management", "inference"):
        before[kind]["expiration time"] = "2001-01-01T00:00:00Z"
    key_file(server).write_text(json.dumps(before), encoding="utf-8")
    assert Management(server.management_url, key_file=server.key_file).default()
    after = Keys.read(key_file(server))
    assert not after.expired
    assert after.management != before["management"]["key"]
    with (
        Client(server.url, token=before["inference"]["key"]) as client,
        pytest.raises(ServiceRefusedError, match="Token Authorization failed"),
    ):
        client.classify([])


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
    headers = {"Authorization": f"Bearer {Keys.read(key_file(server)).management}"}
    before = {file.name: file.stat() for file in store.iterdir()}
    for url in (str(stray), stray.as_uri(), f"../{stray.name}", "http://127.0.0.1:9/stray.mar"):
        answer = requests.post(
            f"{server.management_url}/models", params={"url": url}, headers=headers, timeout=60
        )
        assert (answer.status_code, answer.json()["type"]) == (404, "ModelNotFoundException"), url
    management = Management(server.management_url, key_file=server.key_file)
    management.register("nli-2.0.mar", 1, 300)
    management.remove("2.0")
    after = {file.name: file.stat() for file in store.iterdir()}
    assert {name: (stat.st_size, stat.st_mtime_ns) for name, stat in after.items()} == {
        name: (stat.st_size, stat.st_mtime_ns) for name, stat in before.items()
    }


def test_memory_is_bounded(server: TorchServe) -> None:
    pid = server.frontend_pid()
    assert pid
    assert {"-Xmx256m", "-XX:MaxDirectMemorySize=256m", "-XX:+ExitOnOutOfMemoryError"} <= set(
        psutil.Process(pid).cmdline()
    )
