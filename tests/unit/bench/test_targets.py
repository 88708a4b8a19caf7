"""The servers that the benchmark starts: asked on this machine, whatever proxy the environment names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.bench import targets

PEER = f"""#!{sys.executable}
import http.server, sys

class Peer(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(sys.argv[4])), Peer).serve_forever()
"""


def test_a_peer_is_asked_without_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"  # in place of the interpreter that has the peer's packages
    python.write_text(PEER, encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(targets, "START_SECONDS", 20)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with targets.peer("tutorial", tmp_path, 1, tmp_path) as (url, _):
        assert url.startswith("http://127.0.0.1:")
