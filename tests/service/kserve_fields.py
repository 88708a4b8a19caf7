"""Prints the fields of KServe's objects that its models don't know; needs the package `kserve`.

usage: python kserve_fields.py FILE...
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kserve.models
import kubernetes.client
import yaml

KINDS = {"ServingRuntime": "V1alpha1ServingRuntime", "InferenceService": "V1beta1InferenceService"}


def unknown(value: Any, kind: str, path: str) -> Iterator[str]:
    """The paths of fields that a model, or one within it, doesn't have."""
    if inner := re.fullmatch(r"list\[(.+)\]", kind):
        for number, each in enumerate(value):
            yield from unknown(each, inner[1], f"{path}[{number}]")
        return
    model = getattr(kserve.models, kind, None) or getattr(kubernetes.client, kind, None)
    if model is None:  # a plain value, or a mapping of them
        return
    fields = {name: model.openapi_types[attribute] for attribute, name in model.attribute_map.items()}
    for name, each in value.items():
        if name in fields:
            yield from unknown(each, fields[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}"


if __name__ == "__main__":
    found = []
    for file in map(Path, sys.argv[1:]):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        found += list(unknown(content, KINDS[content["kind"]], file.stem))
    print(json.dumps(found))
