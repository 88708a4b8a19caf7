"""The Helm chart, rendered by a real Helm."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from scripts import PROJECT
from tests.programs import need_package

CHART = PROJECT / "deploy" / "helm" / "korean-nli"
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
VERSIONS = ("1.30", "1.37")
"""The oldest Kubernetes that the chart names, and the newest there is."""

Manifest = dict[str, Any]


def values_of(name: str) -> dict[str, Any]:
    """A set of values by its name, such as `download`."""
    content: dict[str, Any] = yaml.safe_load(
        (CHART / "ci" / f"{name}-values.yaml").read_text(encoding="utf-8")
    )
    return content


def render(values: dict[str, Any], name: str = "nli") -> list[Manifest]:
    """Every object that the chart makes of values."""
    templates = _chart().render(values, name=name, namespace="shop")
    texts = [text for file, text in templates.items() if file.endswith(".yaml")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def manifest(manifests: list[Manifest], kind: str, name: str = "nli-korean-nli") -> Manifest:
    """The object of a kind and name."""
    (found,) = [each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


@cache
def _chart() -> Any:
    return need_package("helm_python").Chart.load(Path(CHART))
