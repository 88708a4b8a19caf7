"""The README's first promise: the shipped model, served, gives the answer that is printed there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import requests

from scripts import PROJECT
from scripts.torchserve.server import Ports, TorchServe


def test_the_readme_answer_is_what_the_demo_answers(shipped_int8: Path, tmp_path: Path) -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"```bash\ncurl (.*?)```\s+```json\n(.*?)```", readme, flags=re.DOTALL)
    assert found
    body = re.search(r"-d '(.*?)'", found[1], flags=re.DOTALL)
    assert body
    printed = json.loads(found[2])
    with TorchServe(tmp_path / "ts", [shipped_int8], Ports.free()) as server:
        path = re.search(r"http://127\.0\.0\.1:8080(\S+)", found[1])
        assert path
        answer = requests.post(
            server.url + path[1], body[1].encode(), headers={"Content-Type": "application/json"}, timeout=60
        ).json()
    # int8 is rounded a little otherwise on another processor, in 12 layers one after another.
    assert answer.pop("probabilities") == pytest.approx(printed.pop("probabilities"), abs=0.02)
    for key in [key for key in printed if key.endswith(("_data", "_width"))]:
        unit = 100 if key.endswith("_width") else 1
        assert number(answer.pop(key)) == pytest.approx(number(printed.pop(key)), abs=0.021 * unit), key
    assert answer == printed


def number(text: str) -> float:
    """The number in a field of the tutorial's answer, such as `참 0.07` or `7.0%`."""
    return float(text.split(" ")[-1].removesuffix("%"))
