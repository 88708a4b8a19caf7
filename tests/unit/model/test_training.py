"""What a training refuses before it starts, what its figures say, and how it goes on after it was killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, TrainerState

from handler.errors import ConfigurationError
from scripts.model.trainer import Progress, Recipe
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


def relabel(data: Path, file: Path, *labels: str | None) -> Path:
    """Write the pairs of `data` with `labels` in turn, and without a label where that is None."""
    rows = [
        row | {"gold_label": label or "-"}
        for row, label in zip(json.loads(data.read_text(encoding="utf-8")), cycle(labels), strict=False)
    ]
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def test_an_encoder_that_is_not_there(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no/such/folder is no folder: --pretrained names one"):
        train(Recipe((str(data),), pretrained="no/such/folder"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_that_the_teacher_does_not_know(data: Path, teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the label 'entailment'; the model's labels are 0 yes, 1 no"):
        train(Recipe((str(data),), teacher=str(teacher), max_seq_length=48), tmp_path / "out")


def test_more_layers_than_the_teacher_has(data: Path, teacher: Path, tmp_path: Path) -> None:
    file = relabel(data, tmp_path / "pairs.json", "yes")
    with pytest.raises(ConfigurationError, match="has 2 layers; a student can't have 3"):
        train(Recipe((str(file),), teacher=str(teacher), layers=3, max_seq_length=48), tmp_path / "out")
    assert not (tmp_path / "out").exists()  # the teacher wasn't asked before


def test_nothing_left_to_learn_from(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of which is left to learn from"):
        train(Recipe((str(data),), pretrained="encoder", held_out=60), tmp_path / "out")


def test_nothing_held_out(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pair is held out"):
        train(Recipe((str(data),), pretrained="encoder", held_out=0), tmp_path / "out")
    file = relabel(data, tmp_path / "pairs.json", None)
    with pytest.raises(DataError, match="no pair is held out"):
        train(Recipe((str(file),), pretrained="encoder"), tmp_path / "out")


@pytest.mark.parametrize(
    ("left", "content", "message"),
    [
        ("figures.json", "{}", "holds a finished model"),
        ("recipe.json", '{"data": ["other.json"]}', "holds a run of another recipe"),
        ("config.json", "{}", "holds other files and no recipe.json; choose another folder"),
    ],
)
def test_a_folder_of_something_else(
    data: Path, tmp_path: Path, left: str, content: str, message: str
) -> None:
    (tmp_path / left).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        train(Recipe((str(data),), pretrained="encoder"), tmp_path)
    assert (tmp_path / left).read_text(encoding="utf-8") == content


def unchanged(file: Path, teacher: Path, **more: Any) -> Recipe:
    """A recipe that learns nothing, so that the student is its teacher."""
    return Recipe((str(file),), teacher=str(teacher), max_seq_length=48, learning_rate=1e-30, **more)


def test_without_gold_labels_the_figure_is_agreement_and_confidence_is_the_teachers(
    data: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = relabel(data, tmp_path / "pairs.json", None)
    figures = train(unchanged(file, teacher, epochs=1, held_out=20), tmp_path / "out")
    assert figures is not None
    assert figures["agreement_with_teacher"] == {"pairs": 21, "share": 1.0}
    assert "held_out" not in figures
    assert figures["temperature"] == pytest.approx(1, abs=0.02)
    printed = capsys.readouterr().out
    assert "labels of 39 pairs to learn from: yes 0, no 0, without a gold label 39" in printed
    assert "agreement with the teacher 100.00%" in printed


def test_figures_and_temperature_are_of_gold_labels_alone(data: Path, teacher: Path, tmp_path: Path) -> None:
    file = relabel(data, tmp_path / "pairs.json", "no", None, None)
    figures = train(unchanged(file, teacher, epochs=1, held_out=20), tmp_path / "out")
    assert figures is not None
    assert (figures["held_out"]["pairs"], figures["held_out"]["skipped"]) == (7, 14)
    # The teacher answers "yes" to all of these, so that the least confidence fits best.
    assert (figures["held_out"]["accuracy"], figures["temperature"]) == (0, 3)


def test_a_run_that_ends_early_ends_at_the_same_step_when_it_was_killed(
    data: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.model.trainer.PATIENCE", 2)
    recipe = unchanged(relabel(data, tmp_path / "pairs.json", "yes", "no"), teacher, epochs=10, held_out=20)
    whole = train(recipe, tmp_path / "whole")
    # Killed while it waits for a better measurement, and again once it has waited long enough.
    for step in (2, 3):
        monkeypatch.setattr(Progress, "on_save", killed_after(step), raising=False)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "killed")
    monkeypatch.undo()
    monkeypatch.setattr("scripts.model.trainer.PATIENCE", 2)
    resumed = train(recipe, tmp_path / "killed")
    assert whole is not None
    assert resumed is not None
    assert (whole["steps"], whole["best_step"]) == (3, 1)
    expected = whole | {"held_out": whole["held_out"] | {"model": "killed"}}
    assert {key: value for key, value in resumed.items() if "seconds" not in key} == {
        key: value for key, value in expected.items() if "seconds" not in key
    }


def killed_after(step: int) -> Callable[..., None]:
    """A callback that ends the training as a signal would, once the state of `step` is saved."""

    def kill(*given: Any, **_: Any) -> None:
        state: TrainerState = given[2]
        if state.global_step == step:
            raise KeyboardInterrupt

    return kill
