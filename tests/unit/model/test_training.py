"""What a training refuses, in one line, before it starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from handler.errors import ConfigurationError
from scripts.model.trainer import Recipe
from scripts.model.training import train
from scripts.pairs.text_file import DataError
from tests.making import VOCABULARY, write_labelled_pairs, write_pretrained


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled_pairs(tmp_path_factory.mktemp("data") / "pairs.json", people=2)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_pretrained(tmp_path_factory.mktemp("teacher"))
    torch.manual_seed(0)
    config = BertConfig.from_pretrained(folder, id2label={0: "yes", 1: "no"}, label2id={"yes": 0, "no": 1})
    assert config.vocab_size == len(VOCABULARY)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_an_encoder_that_is_not_there(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no model to train at 'no/such/folder'"):
        train(Recipe((str(data),), pretrained="no/such/folder"), tmp_path / "out")


def test_labels_that_the_teacher_does_not_know(data: Path, teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the label 'entailment'; the model's labels are 0 yes, 1 no"):
        train(Recipe((str(data),), teacher=str(teacher)), tmp_path / "out")


def test_more_layers_than_the_teacher_has(data: Path, teacher: Path, tmp_path: Path) -> None:
    rows = [row | {"gold_label": "yes"} for row in json.loads(data.read_text(encoding="utf-8"))]
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="has 2 layers; a student can't have 3"):
        train(Recipe((str(file),), teacher=str(teacher), layers=3), tmp_path / "out")


def test_nothing_left_to_learn_from(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of which is left to learn from"):
        train(Recipe((str(data),), pretrained="encoder", held_out=60), tmp_path / "out")


def test_nothing_held_out(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pair is held out"):
        train(Recipe((str(data),), pretrained="encoder", held_out=0), tmp_path / "out")


@pytest.mark.parametrize(
    ("left", "content", "message"),
    [
        ("figures.json", "{}", "holds a finished model"),
        ("recipe.json", '{"data": ["other.json"]}', "holds a run of another recipe"),
    ],
)
def test_a_folder_of_another_run(data: Path, tmp_path: Path, left: str, content: str, message: str) -> None:
    (tmp_path / left).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        train(Recipe((str(data),), pretrained="encoder"), tmp_path)
    assert (tmp_path / left).read_text(encoding="utf-8") == content
