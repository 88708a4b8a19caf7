"""A real Prometheus for a test: the shipped configuration, another target, a faster clock."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests
import yaml

from scripts import PROJECT
from tests.programs import need

CONFIG = PROJECT / "config" / "prometheus.yml"


class Prometheus:
    """Scrapes one target once a second, and answers queries."""

    def __init__(self, folder: Path, target: str) -> None:
        self._program = need("prometheus")
        config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
        rules = yaml.safe_load((CONFIG.parent / "prometheus-rules.yml").read_text(encoding="utf-8"))
        for group in rules["groups"]:
            group["interval"] = "1s"
        (folder / "prometheus-rules.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"

    def __enter__(self) -> Self:
        command = [self._program, f"--config.file={self._folder}/prometheus.yml"]
        command += [f"--storage.tsdb.path={self._folder}/data", f"--web.listen-address={self.address}"]
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            self.wait_for("up == 1", 60)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The samples of an instant query: `metric` holds the labels, `value` the time and the value."""
        url = f"http://{self.address}/api/v1/query"
        answer = requests.get(url, params={"query": expression, "time": at}, timeout=60).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def value(self, expression: str) -> float:
        """The only sample of an instant query."""
        (sample,) = self.query(expression)
        return float(sample["value"][1])

    def wait_for(self, expression: str, seconds: float) -> list[dict[str, Any]]:
        """Wait until a query returns samples."""
        end = time.monotonic() + seconds
        while True:
            try:
                samples = self.query(expression)
            except requests.RequestException:
                samples = []
            if samples:
                return samples
            assert time.monotonic() < end, f"no sample within {seconds} s: {expression}"
            time.sleep(0.3)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
