"""No import of what serves or converts looks up a host: openvino would report each of its imports."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from scripts import PROJECT

SPY = """
import importlib, socket, sys, threading
def look_up(host, *rest, **named):
    print("looked up", host, flush=True)
    raise OSError("not from here")
socket.getaddrinfo = look_up
importlib.import_module(sys.argv[1])
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join(5)
"""


def looked_up(module: str) -> str:
    # In continuous integration openvino reports nothing, so that it is hidden.
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "TF_BUILD"}}
    return subprocess.check_output(
        [sys.executable, "-c", SPY, module], cwd=PROJECT, env=environment, text=True, timeout=120
    )


@pytest.mark.parametrize("module", ["handler.openvino_model", "scripts.model.export"])
def test_nothing_is_looked_up(module: str) -> None:
    assert looked_up(module) == ""


def test_a_report_would_be_seen() -> None:
    assert "looked up" in looked_up("openvino")
