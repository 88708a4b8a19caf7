"""deploy/kserve held against the models that KServe publishes, in an environment of their own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from scripts import PROJECT

FOLDER = PROJECT / "deploy" / "kserve"


def unknown(python: Path, *files: Path) -> Any:
    script = Path(__file__).with_name("kserve_fields.py")
    command = [str(python), str(script), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_kserve_knows_every_field(kserve_python: Path) -> None:
    assert unknown(kserve_python, *sorted(FOLDER.glob("*.yaml"))) == []


def test_a_misspelt_field_would_be_found(kserve_python: Path, tmp_path: Path) -> None:
    text = (FOLDER / "canary.yaml").read_text(encoding="utf-8")
    broken = tmp_path / "broken.yaml"
    broken.write_text(
        text.replace("trafficPercent", "trafficPercentage").replace("maxReplicas: 10", "maxReplica: 10")
    )
    assert unknown(kserve_python, broken) == [
        "broken.spec.predictor.maxReplica",
        "broken.spec.canary[0].trafficPercentage",
    ]
