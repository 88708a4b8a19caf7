"""What a training does to a model besides learning: no dropout, fewer layers, a fitted temperature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from handler.errors import ConfigurationError
from scripts.model.classifier import best_temperature, divide_logits, keep_layers, load_classifier
from tests.making import TINY_SHAPE, write_pretrained


def model(layers: int = 12) -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(**TINY_SHAPE | {"num_hidden_layers": layers, "num_labels": 3})
    )


def test_loading_turns_dropout_off_and_names_the_labels(tmp_path: Path) -> None:
    folder = write_pretrained(tmp_path)
    BertForSequenceClassification(BertConfig.from_pretrained(folder)).bert.save_pretrained(folder)
    loaded, tokenizer = load_classifier(str(folder), ["same", "other"])
    assert loaded.config.id2label == {0: "same", 1: "other"}
    assert {each.p for each in loaded.modules() if isinstance(each, torch.nn.Dropout)} == {0.0}
    assert loaded.config.hidden_dropout_prob == loaded.config.attention_probs_dropout_prob == 0.0
    assert tokenizer.is_fast


@pytest.mark.parametrize(
    ("count", "kept"),
    [(6, [0, 2, 4, 7, 9, 11]), (4, [0, 4, 7, 11]), (1, [0]), (12, list(range(12)))],
)
def test_a_student_keeps_layers_from_the_first_to_the_last(count: int, kept: list[int]) -> None:
    student = model()
    before = [layer.get_parameter("output.dense.weight") for layer in student.bert.encoder.layer]
    keep_layers(student, count)
    after = [layer.get_parameter("output.dense.weight") for layer in student.bert.encoder.layer]
    assert [next(index for index, old in enumerate(before) if old is new) for new in after] == kept
    assert student.config.num_hidden_layers == count


def test_no_student_has_more_layers_than_its_teacher() -> None:
    with pytest.raises(ConfigurationError, match="the teacher has 2 layers; a student can't have 3"):
        keep_layers(model(2), 3)


def test_the_fitted_temperature_undoes_what_made_a_model_too_sure() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3)) * 1.5
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = torch.tensor([rng.choice(3, p=each) for each in honest])
    assert best_temperature(torch.from_numpy(logits), truth) == pytest.approx(1, abs=0.1)
    assert best_temperature(torch.from_numpy(1.8 * logits), truth) == pytest.approx(1.8, abs=0.15)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_dividing_the_last_matrix_divides_all_logits(kind: str) -> None:
    classifier: BertForSequenceClassification | RobertaForSequenceClassification = (
        model(2) if kind == "bert" else RobertaForSequenceClassification(RobertaConfig(**TINY_SHAPE))
    )
    classifier.train(False)
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.add_(0.1)
        ids = torch.tensor([[5, 6, 7, 8]])
        before = classifier(input_ids=ids).logits
        divide_logits(classifier, 2.0)
        torch.testing.assert_close(classifier(input_ids=ids).logits, before / 2)
