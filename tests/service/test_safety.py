"""Safety: no user's text in a log, nothing open to the network, gRPC's errors, and starts that fail."""

from __future__ import annotations

import json
import re
import shutil
import socket
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import grpc
import psutil
import pytest
import requests

from handler.errors import ConfigurationError, ServiceError
from scripts import CONFIG
from scripts.model.archive import build_archive
from scripts.torchserve.server import Ports, StartError, TorchServe
from tests.service.test_answers import GOOD

MARKER = "숨길말"


def grpc_call(port: int, body: bytes) -> bytes:
    """Call TorchServe's `Predictions` with one input named `data`; messages are put together by hand."""

    def message(number: int, content: bytes) -> bytes:
        size, length = bytearray(), len(content)
        while length > 127:
            size.append(length & 127 | 128)
            length >>= 7
        return bytes([number << 3 | 2, *size, length]) + content

    entry = message(1, b"data") + message(2, body)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions")
        reply: bytes = call(message(1, b"nli") + message(3, entry), timeout=60)
    return reply[reply.index(b"{") :]


def test_grpc_answers_like_http_and_errors_have_a_status(server: TorchServe, url: str) -> None:
    port = server.ports.grpc_inference
    answer = json.loads(grpc_call(port, json.dumps(GOOD).encode()))
    assert answer == requests.post(url, json=GOOD, timeout=60).json()
    for body, status in [
        (b'{"premise": "a"}', grpc.StatusCode.INVALID_ARGUMENT),
        (b"[" * 9, grpc.StatusCode.INVALID_ARGUMENT),
        (json.dumps([GOOD] * 65).encode(), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ]:
        with pytest.raises(grpc.RpcError) as caught:
            grpc_call(port, body)
        assert caught.value.code() is status, caught.value.details()


def test_a_grpc_error_in_company_harms_nobody(server: TorchServe, url: str) -> None:
    def ask(index: int) -> int:
        if index % 3:
            return requests.post(url, json=[GOOD] * 20, timeout=60).status_code
        try:
            reply = grpc_call(server.ports.grpc_inference, b"{}")
        except grpc.RpcError as refusal:
            return {grpc.StatusCode.INVALID_ARGUMENT: 400}[refusal.code()]
        return int(json.loads(reply)["code"])

    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(ask, range(48))) == [400, 200, 200] * 16


def test_no_log_holds_what_a_user_wrote(tiny_archive: Path, tmp_path: Path) -> None:
    # The most talkative a server can be made: every logger at its finest level.
    loud = tmp_path / "log4j2.xml"
    quiet = (CONFIG / "log4j2.xml").read_text(encoding="utf-8")
    loud.write_text(re.sub(r'level="(\w+)"', 'level="all"', quiet), encoding="utf-8")
    with TorchServe(tmp_path / "ts", [tiny_archive], Ports.free(), log_config=loud) as server:
        url = f"{server.url}/predictions/nli"
        bodies = [
            json.dumps({"premise": MARKER, "hypothesis": MARKER}),
            json.dumps({"premise": MARKER}),
            json.dumps({MARKER: MARKER, "premise": [MARKER], "hypothesis": MARKER}),
            json.dumps([{"premise": MARKER, "hypothesis": " "}]),
            json.dumps({"premise": MARKER * 20_000, "hypothesis": MARKER}),
            json.dumps({"premise": MARKER + "\ud800", "hypothesis": MARKER}),
            MARKER,
            '{"premise": "' + MARKER,
        ]
        for kind in ("application/json", "text/plain", "application/octet-stream"):
            for body in bodies:
                requests.post(url, data=body.encode(), headers={"Content-Type": kind}, timeout=60)
        requests.post(url, data={"premise": MARKER, "hypothesis": MARKER}, timeout=60)
        requests.post(url, data={MARKER: MARKER}, timeout=60)
        requests.post(url, json={"instances": [{"premise": MARKER}]}, timeout=60)
        requests.post(url.replace("predictions", "explanations"), json={"premise": MARKER}, timeout=60)
        with pytest.raises(grpc.RpcError):
            grpc_call(server.ports.grpc_inference, json.dumps({"premise": MARKER}).encode())
        logs = {log.name: log.read_bytes() for log in server.logs.rglob("*") if log.is_file()}
    assert sum(map(len, logs.values())) > 10_000  # it really was talkative
    escaped = json.dumps(MARKER).strip('"')
    for name, content in logs.items():
        for form in (MARKER.encode(), escaped.encode(), quote(MARKER).encode()):
            assert form not in content, name


def test_management_and_metrics_listen_on_loopback_alone(server: TorchServe) -> None:
    java = psutil.Process(server.worker_pids()[0]).parent()
    assert java is not None
    listening = {each.laddr for each in java.net_connections() if each.status == psutil.CONN_LISTEN}
    ports = {each.port for each in server.ports.addresses()} - {server.ports.readiness}
    assert {address.port for address in listening} >= ports
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        ("no archive", ConfigurationError, "is not a model archive"),
        ("no weights", StartError, "can't be loaded"),
        ("a wrong setting", StartError, "max_pairs: Input should be greater than or equal to 1"),
        ("a taken port", ConfigurationError, "can't be used"),
    ],
)
def test_a_start_that_fails_says_why_and_leaves_nothing(
    tiny_checkpoint: Path, tmp_path: Path, damage: str, kind: type[ServiceError], message: str
) -> None:
    archive, ports = build_archive(tiny_checkpoint, "1.0", tmp_path / "nli-1.0.mar"), Ports.free()
    taken = socket.socket()
    if damage == "no archive":
        archive.write_bytes(archive.read_bytes()[:999])
    elif damage == "a taken port":
        taken.bind(("127.0.0.1", ports.metrics))
        taken.listen()
    else:
        whole = shutil.move(archive, tmp_path / "whole")
        with zipfile.ZipFile(whole) as source, zipfile.ZipFile(archive, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                if damage == "no weights" and name == "model.bin":
                    continue
                if damage == "a wrong setting" and name == "model-config.yaml":
                    content = content.replace(b"max_pairs: 64", b"max_pairs: 0")
                target.writestr(name, content)
    server = TorchServe(tmp_path / "ts", [archive], ports)
    with taken, pytest.raises(kind, match=message) as caught, server:
        pass
    assert "\n" not in str(caught.value)
    assert not server.is_running()
    assert server.worker_pids() == []
