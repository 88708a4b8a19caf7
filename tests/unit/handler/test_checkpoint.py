"""A checkpoint folder's own account of itself."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handler.checkpoint import Checkpoint
from handler.errors import ConfigurationError


def test_a_converted_checkpoint_says_what_it_is(tiny_checkpoint: Path, lightning_checkpoint: Path) -> None:
    checkpoint = Checkpoint.read(tiny_checkpoint)
    assert checkpoint.name == "tiny"
    assert checkpoint.labels == ("entailment", "contradiction", "neutral")
    assert checkpoint.max_seq_length == 64
    assert checkpoint.source == lightning_checkpoint.name
    assert len(checkpoint.source_sha256) == 64


def test_the_identity_says_which_weights_answer(tiny_checkpoint: Path) -> None:
    checkpoint = Checkpoint.read(tiny_checkpoint)
    assert re.fullmatch("tiny-[0-9a-f]{8}", checkpoint.identity)
    others = [
        replace(checkpoint, name="한국어, 둘 B"),
        replace(checkpoint, source_sha256="0" * 64),
        replace(checkpoint, precision="int8"),
    ]
    assert len({checkpoint.identity, *(each.identity for each in others)}) == 4
    assert others[0].identity == "_B" + checkpoint.identity.removeprefix("tiny")
    # An archive in float32 has the weights of the checkpoint that it was made from.
    assert replace(checkpoint, precision="fp32").identity == checkpoint.identity


@pytest.mark.parametrize(
    ("change", "small"),
    [
        ({}, True),
        ({"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3}, True),
        ({"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}, False),
        ({"intermediate_size": None}, False),
    ],
)
def test_a_model_is_small_by_the_weights_in_its_layers(
    tiny_checkpoint: Path, tmp_path: Path, change: dict[str, Any], small: bool
) -> None:
    config = json.loads((tiny_checkpoint / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
    assert Checkpoint.read(tmp_path).small is small


@pytest.mark.parametrize("change", [{"sentence_pair": None}, {"id2label": None}, {"id2label": {"1": "a"}}])
def test_a_folder_that_lacks_what_serving_needs_is_refused(
    tiny_checkpoint: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    config = json.loads((tiny_checkpoint / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | change), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="convert_checkpoint"):
        Checkpoint.read(tmp_path)


def test_no_config_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is missing"):
        Checkpoint.read(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="not JSON"):
        Checkpoint.read(tmp_path)
