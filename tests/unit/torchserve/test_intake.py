"""Closing a real server's sockets from outside."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.torchserve.intake import close_intake

ECHO = """
import socket, threading, time
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
def answer(connection):
    while data := connection.recv(100):
        connection.sendall(data.upper())
        if data == b"much":
            threading.Timer(1, connection.sendall, [b"x" * 4_000_000]).start()
while True:
    try:
        connection, _ = listening.accept()
    except OSError:  # closed from outside; as TorchServe does, go on with who is there
        time.sleep(60)
    else:
        threading.Thread(target=answer, args=[connection], daemon=True).start()
"""


@pytest.fixture
def server() -> Iterator[tuple[int, int]]:
    """Process id and port of a server that answers in capital letters."""
    with subprocess.Popen(
        [sys.executable, "-c", ECHO], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        yield process.pid, int(process.stdout.readline())
        process.kill()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def test_who_comes_later_is_refused(server: tuple[int, int]) -> None:
    pid, port = server
    with connect(port):
        assert close_intake(pid, port)
        with pytest.raises(ConnectionRefusedError):
            connect(port)


def test_what_comes_later_does_not_arrive_but_answers_leave(server: tuple[int, int]) -> None:
    pid, port = server
    with connect(port) as asking, connect(port) as waiting:
        asking.sendall(b"before")
        assert asking.recv(100) == b"BEFORE"
        waiting.sendall(b"much")
        assert waiting.recv(4) == b"MUCH"
        assert close_intake(pid, port)
        asking.sendall(b"after")
        asking.settimeout(1)
        with pytest.raises(TimeoutError):
            asking.recv(100)
        # An answer far larger than what may be sent without acknowledgements still arrives whole.
        received = 0
        while received < 4_000_000:
            received += len(waiting.recv(2**20))


def test_other_ports_stay_open(server: tuple[int, int]) -> None:
    pid, port = server
    assert close_intake(pid, port + 1 if port < 65535 else port - 1)
    with connect(port) as connection:
        connection.sendall(b"still here")
        assert connection.recv(100) == b"STILL HERE"


def test_a_process_that_is_gone_is_not_closed() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert not close_intake(process.pid, 1)


def test_no_handles_are_left(server: tuple[int, int]) -> None:
    pid, port = server
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(connect(port))
        time.sleep(0.2)
        before = open_files()
        assert close_intake(pid, port)
        assert open_files() == before
