"""Machines in network namespaces, each with a link of its own to one bridge."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.programs import need

BRIDGE = "nli-bridge"
NETWORK = "10.213.77"
OURS = f"{NETWORK}.1"
"""The address of this machine, where balancer and clients run."""


class Machine:
    """One network namespace."""

    def __init__(self, number: int) -> None:
        self.name = f"nli-host{number}"
        self.address = f"{NETWORK}.{10 + number}"
        self._link = f"nli-link{number}"

    def attach(self) -> None:
        _ip("netns", "add", self.name)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("link", "set", self._link, "master", BRIDGE, "up")
        _ip("-n", self.name, "link", "set", "lo", "up")
        _ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        _ip("-n", self.name, "link", "set", "eth0", "up")

    def detach(self) -> None:
        self.kill()
        for command in (["netns", "del", self.name], ["link", "del", self._link]):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(*command)

    def cut(self) -> None:
        """Pull the plug: packets of both directions are lost without a word."""
        _ip("link", "set", self._link, "down")

    def mend(self) -> None:
        _ip("link", "set", self._link, "up")

    def inside(self, *command: str) -> list[str]:
        """A command that runs on this machine."""
        return ["ip", "netns", "exec", self.name, *command]

    def pids(self) -> list[int]:
        done = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        return [int(pid) for pid in done.stdout.split()]

    def kill(self) -> None:
        """`kill -9` of all that runs there."""
        end = time.monotonic() + 20
        while pids := self.pids():
            assert time.monotonic() < end, f"{self.name} keeps {pids}"
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


@contextlib.contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """So many machines on one bridge; skips where namespaces aren't allowed."""
    need("ip")
    made = [Machine(number + 1) for number in range(count)]
    _remove(made)  # what a run that was killed has left
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{OURS}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        for each in made:
            each.attach()
    except subprocess.CalledProcessError as error:
        _remove(made)
        pytest.skip(f"network namespaces aren't allowed here: {error.stderr.strip()}")
    try:
        yield made
    finally:
        _remove(made)


def _remove(made: list[Machine]) -> None:
    for each in made:
        each.detach()
    with contextlib.suppress(subprocess.CalledProcessError):
        _ip("link", "del", BRIDGE)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)
