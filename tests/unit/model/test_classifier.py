"""What a training does to a model besides learning: no dropout, fewer layers, a fitted temperature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from handler.encoding import PairEncoder
from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts.model.classifier import (
    best_temperature,
    divide_logits,
    keep_layers,
    last_matrix,
    load_classifier,
    spread_layers,
)
from scripts.model.served_tokenizer import serve_tokenizer
from scripts.model.tokenizer import load_tokenizer
from tests.making import TINY_SHAPE, write_pretrained


def model(layers: int = 12) -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(**TINY_SHAPE | {"num_hidden_layers": layers, "num_labels": 3})
    )


def test_loading_turns_dropout_off_and_names_the_labels(tmp_path: Path) -> None:
    folder = write_pretrained(tmp_path)
    BertForSequenceClassification(BertConfig.from_pretrained(folder)).bert.save_pretrained(folder)
    loaded, tokenizer, _ = load_classifier(str(folder), ["same", "other"], 64)
    assert loaded.config.id2label == {0: "same", 1: "other"}
    assert {each.p for each in loaded.modules() if isinstance(each, torch.nn.Dropout)} == {0.0}
    assert loaded.config.hidden_dropout_prob == loaded.config.attention_probs_dropout_prob == 0.0
    assert tokenizer.is_fast
    assert loaded.config._attn_implementation == "eager"  # the faster one on a CPU


def write_classifier(folder: Path, *without: str, **changes: Any) -> Path:
    """A tiny classifier of three labels that lacks the weights whose names begin with one of `without`."""
    write_pretrained(folder)
    torch.manual_seed(0)
    whole = BertForSequenceClassification(BertConfig.from_pretrained(folder, num_labels=3))
    weights = {name: value for name, value in whole.state_dict().items() if not name.startswith(without)}
    whole.save_pretrained(folder, state_dict=weights)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("without", "changes", "named"),
    [
        (("bert.encoder.layer.1.output.dense",), {}, "bert.encoder.layer.1.output.dense.bias"),
        ((), {"num_hidden_layers": 3}, "bert.encoder.layer.2.attention"),
        ((), {"intermediate_size": 48}, "bert.encoder.layer.0.intermediate.dense.bias"),
    ],
)
@pytest.mark.parametrize("labels", [("a", "b", "c"), None])
def test_an_encoder_with_random_weights_is_refused(
    tmp_path: Path, without: tuple[str], changes: dict[str, Any], named: str, labels: tuple[str] | None
) -> None:
    folder = write_classifier(tmp_path, *without, **changes)
    with pytest.raises(ConfigurationError, match=f"missing or don't fit its config.json, such as {named}"):
        load_classifier(str(folder), labels, 64)


@pytest.mark.parametrize("without", ["classifier", "bert.pooler"])
def test_a_head_may_be_new_but_a_teachers(tmp_path: Path, without: str) -> None:
    folder = write_classifier(tmp_path, without)
    assert load_classifier(str(folder), ("a", "b", "c"), 64)[0].config.num_labels == 3
    with pytest.raises(ConfigurationError, match=rf"2 weights of .* {without}.*; a teacher needs all"):
        load_classifier(str(folder), None, 64)


def test_a_classifier_gets_a_new_head_only_for_another_number_of_labels(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path)
    kept, _, _ = load_classifier(str(folder), None, 64)
    for labels in ("ab", "abc", "abcd"):
        loaded, _, _ = load_classifier(str(folder), tuple(labels), 64)
        assert loaded.config.num_labels == last_matrix(loaded).out_features == len(labels)
        assert torch.equal(last_matrix(loaded).weight[:1], last_matrix(kept).weight[:1]) == (labels == "abc")
        assert 0.01 < float(last_matrix(loaded).weight.detach().std()) < 0.03
        ours, theirs = loaded.base_model.state_dict(), kept.base_model.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("length", [4, 81])
def test_a_length_without_positions_is_refused(tmp_path: Path, length: int) -> None:
    folder = write_classifier(tmp_path)
    with pytest.raises(ConfigurationError, match="max_seq_length must be from 5 to 80"):
        load_classifier(str(folder), None, length)


def test_what_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no model to train at .*: it has no config\.json"):
        load_classifier(str(tmp_path), None, 64)
    with pytest.raises(ConfigurationError, match="no/such/folder is no folder: --teacher names one"):
        load_classifier("no/such/folder", None, 64)
    (write_classifier(tmp_path) / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ConfigurationError, match="no model to train at") as caught:
        load_classifier(str(tmp_path), None, 64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["a vocabulary alone", "version 4"])
def test_training_reads_what_is_served_before_and_after_it_is_saved(tmp_path: Path, kind: str) -> None:
    """transformers would take the syllables of one apart; the other, once saved, would lose its types."""
    folder = write_classifier(tmp_path / "before", transformers_version="4.40.0")
    settings = folder / "tokenizer_config.json"
    if kind == "version 4":
        BertTokenizer.from_pretrained(folder).save_pretrained(folder)
        stated = json.loads(settings.read_text(encoding="utf-8"))
        stated |= {"tokenizer_class": "PreTrainedTokenizerFast"}
        settings.write_text(json.dumps(stated), encoding="utf-8")
    else:
        settings.unlink()
    loaded, tokenizer, encoder = load_classifier(str(folder), None, 64)
    pairs = [SentencePair("남자가 책을 읽는다.", "비가 온다")]
    encoded = encoder.encode(pairs)
    assert 1 not in encoded[0].input_ids
    assert set(encoded[0].token_type_ids) == {0, 1}
    after = tmp_path / "after"
    loaded.save_pretrained(after)
    tokenizer.save_pretrained(after)
    for place in (folder, after):
        config = BertConfig.from_pretrained(place)
        served, _ = serve_tokenizer(load_tokenizer(place, config), config.vocab_size, str(place))
        assert PairEncoder(served, 64).encode(pairs) == encoded


@pytest.mark.parametrize(
    ("count", "kept"),
    [(6, [0, 2, 4, 7, 9, 11]), (4, [0, 4, 7, 11]), (1, [0]), (12, list(range(12)))],
)
def test_a_student_keeps_layers_from_the_first_to_the_last(count: int, kept: list[int]) -> None:
    student = model()
    before = [layer.get_parameter("output.dense.weight") for layer in student.bert.encoder.layer]
    keep_layers(student, spread_layers(student, count))
    after = [layer.get_parameter("output.dense.weight") for layer in student.bert.encoder.layer]
    assert [next(index for index, old in enumerate(before) if old is new) for new in after] == kept
    assert student.config.num_hidden_layers == count


def test_no_student_has_more_layers_than_its_teacher() -> None:
    with pytest.raises(ConfigurationError, match="the teacher has 2 layers; a student can't have 3"):
        spread_layers(model(2), 3)


def test_the_fitted_temperature_undoes_what_made_a_model_too_sure() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3)) * 1.5
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = torch.tensor([rng.choice(3, p=each) for each in honest])
    assert best_temperature(torch.from_numpy(logits), truth) == pytest.approx(1, abs=0.1)
    assert best_temperature(torch.from_numpy(1.8 * logits), truth) == pytest.approx(1.8, abs=0.15)


def test_the_temperature_that_fits_probabilities_is_theirs() -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(400, 3)))
    assert best_temperature(1.5 * logits, logits.softmax(1)) == pytest.approx(1.5, abs=0.02)
    # Held against its most probable labels, a model seems too modest.
    assert best_temperature(1.5 * logits, logits.argmax(1)) == 0.5


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
