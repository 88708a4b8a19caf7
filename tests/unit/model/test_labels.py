"""Labels: every form in which a checkpoint states them, and what contradicts itself or is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig

from handler.errors import ConfigurationError
from scripts.model.labels import TUTORIAL_LABELS, Labels, choose_labels
from scripts.model.unpickling import read_pickle

KLUE = ("entailment", "neutral", "contradiction")
PLACEHOLDERS = {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
NO_NAMES = {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
BY_ID = {"0": "entailment", "1": "neutral", "2": "contradiction"}
BY_LABEL = {"entailment": 0, "neutral": 1, "contradiction": 2}


def chosen(
    own: dict[str, Any] | None = None,
    *,
    count: int = 3,
    named: list[str] | None = None,
    surroundings: dict[str, Any] | None = None,
    lightning: bool = False,
    pretrained: dict[str, Any] | None = None,
) -> Labels:
    return choose_labels(count, named, own, surroundings or {}, lightning, pretrained or {})


@pytest.mark.parametrize(
    "config",
    [
        {"id2label": BY_ID, "label2id": BY_LABEL},
        {"id2label": BY_ID},
        {"id2label": BY_ID, "label2id": NO_NAMES},
        {"id2label": PLACEHOLDERS, "label2id": BY_LABEL},
        {"label2id": BY_LABEL},
        {"label2id": {"contradiction": "2", "entailment": "0", "neutral": "1"}},
        {"id2label": {"2": "contradiction", "0": "entailment", "1": "neutral"}},
        {"id2label": {1: "neutral", 2: "contradiction", 0: "entailment"}},
        {"id2label": list(KLUE)},
        {"id2label": BY_ID, "label2id": {"negative": 0, "positive": 1}},
        {"id2label": {"0": "negative", "1": "positive"}, "label2id": BY_LABEL},
        {"id2label": {"0": " entailment", "1": "neutral ", "2": "contradiction"}},
        {"id2label": BY_ID, "label2id": {}},
        {"id2label": None, "label2id": BY_LABEL, "num_labels": 3},
    ],
)
def test_a_checkpoints_own_statement_counts_in_every_form(config: dict[str, Any]) -> None:
    other = {"id2label": {"0": "neutral", "1": "contradiction", "2": "entailment"}}
    found = chosen(config, pretrained=other)
    assert found.names == KLUE
    assert "in config.json" in found.origin


def test_names_that_are_numbers_are_names() -> None:
    assert chosen({"id2label": {"0": 0, "1": 1, "2": 2}}).names == ("0", "1", "2")
    assert chosen({"label2id": {"2": 0, "0": 1, "1": 2}}).names == ("2", "0", "1")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"id2label": BY_ID, "label2id": {"entailment": 0, "contradiction": 1, "neutral": 2}},
            "contradict each",
        ),
        ({"id2label": {"0": "a", "1": "b", "2": "a"}}, "must be different"),
        ({"id2label": {"0": "a", "1": "b", "2": ""}}, "not empty"),
        ({"id2label": {"0": "a", "1": "b"}}, "3 outputs, but 2 labels"),
        ({"id2label": {"0": "a", "1": "b", "2": "c", "3": "d"}}, "3 outputs, but 4 labels"),
        ({"id2label": {"1": "a", "2": "b", "3": "c"}}, "doesn't number labels from 0, each once"),
        ({"id2label": {"0": "a", "00": "b", "1": "c"}}, "doesn't number labels from 0, each once"),
        ({"label2id": {"a": 0, "b": 0, "c": 1}}, "doesn't number labels from 0, each once"),
        (
            {"id2label": {"entailment": 0, "neutral": 1, "contradiction": 2}},
            "doesn't number labels from 0, each once",
        ),
        ({"id2label": {"0": None, "1": "b", "2": "c"}}, "doesn't number labels from 0, each once"),
        ({"label2id": {"a": -1, "b": 0, "c": 1}}, "doesn't number labels from 0, each once"),
        ({"label2id": {"a": 0.5, "b": 0, "c": 1}}, "doesn't number labels from 0, each once"),
        ({"label2id": {"a": True, "b": 0, "c": 2}}, "doesn't number labels from 0, each once"),
        ({"id2label": {"0": "entailment", "1": "LABEL_1", "2": "LABEL_2"}}, "only some labels"),
        ({"id2label": PLACEHOLDERS, "label2id": NO_NAMES}, "doesn't state what its 3 outputs stand for"),
        ({}, "doesn't state"),
        ({"id2label": "entailment", "label2id": 3}, "doesn't state"),
    ],
)
def test_a_statement_that_is_none_is_refused_in_one_line(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        chosen(config)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert chosen(config, named=["x", "y", "z"]).names == ("x", "y", "z")


def test_the_tutorials_order_is_for_its_checkpoints_alone() -> None:
    assert chosen(lightning=True) == Labels(TUTORIAL_LABELS, "the tutorial's order, as ratsnlp numbers them")
    with pytest.raises(ConfigurationError, match="name the labels in the order of training"):
        chosen(lightning=False)
    with pytest.raises(ConfigurationError, match="name the labels in the order of training"):
        chosen(lightning=True, count=2)
    assert chosen({"id2label": BY_ID}, lightning=True).names == KLUE


def test_what_was_fine_tuned_speaks_where_the_checkpoint_cannot() -> None:
    assert chosen(pretrained={"id2label": BY_ID}).names == KLUE
    # Of another head, which fine-tuning replaced.
    assert chosen(pretrained={"id2label": {"0": "a", "1": "b"}}, lightning=True).names == TUTORIAL_LABELS
    with pytest.raises(
        ConfigurationError, match=r"ratsnlp's label order is .* but id2label in the config of --pretrained"
    ):
        chosen(pretrained={"id2label": BY_ID}, lightning=True)
    same = {"id2label": dict(enumerate(TUTORIAL_LABELS))}
    assert chosen(pretrained=same, lightning=True).names == TUTORIAL_LABELS


def test_hyper_parameters_speak_for_a_lightning_checkpoint(tmp_path: Path) -> None:
    config = BertConfig(id2label=dict(enumerate(KLUE)), label2id=BY_LABEL)
    for number, kept in enumerate(({"config": config}, {"label2id": BY_LABEL}, config)):
        file = tmp_path / f"{number}.ckpt"
        torch.save({"state_dict": {"x": torch.ones(1)}, "hyper_parameters": kept}, file)
        found = chosen(surroundings=read_pickle(file), lightning=True)
        assert found.names == KLUE
        assert "hyper-parameters" in found.origin


@pytest.mark.parametrize("named", [["a", "b"], ["a", "b", "a"], ["a", "b", " "]])
def test_labels_that_a_user_names_are_checked(named: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="label"):
        chosen(lightning=True, named=named)
    assert chosen(named=[" a", "b ", "c"]).names == ("a", "b", "c")
