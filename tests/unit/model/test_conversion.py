"""Conversion: which file is chosen, that it is loaded safely, and that what doesn't fit is named."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from handler import torch_model
from handler.errors import ConfigurationError
from scripts.convert_checkpoint import main
from scripts.model.archive import check_checkpoint
from scripts.model.conversion import convert_checkpoint
from scripts.model.fitting import own_names
from scripts.model.weights import choose_checkpoint, read_weights, sha256_of
from tests.commands import call
from tests.making import VOCABULARY, random_weights, write_lightning_checkpoint, write_pretrained

Weights = dict[str, torch.Tensor]


def chosen(folder: Path, *names: str) -> str:
    """The name that is chosen among files of these names."""
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return choose_checkpoint(folder).file.name


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["epoch=0-val_loss=0.54.ckpt", "epoch=1-val_loss=0.48.ckpt"], "epoch=1-val_loss=0.48.ckpt"),
        (["epoch=0-val_loss=9.00.ckpt", "epoch=1-val_loss=10.00.ckpt"], "epoch=0-val_loss=9.00.ckpt"),
        (["epoch=0-val_loss=0.50.ckpt", "last.ckpt", "log.txt"], "epoch=0-val_loss=0.50.ckpt"),
        (["epoch=1-val_loss=0.50.ckpt", "epoch=1-val_loss=0.50-v1.ckpt"], "epoch=1-val_loss=0.50-v1.ckpt"),
        (["a-val_loss=0.5-v2.ckpt", "a-val_loss=0.5-v10.ckpt"], "a-val_loss=0.5-v10.ckpt"),
        (["epoch=1-val_loss=0.50.ckpt", "epoch=2-val_loss=0.50.ckpt"], "epoch=2-val_loss=0.50.ckpt"),
        (["epoch=1-val_loss=0.9.ckpt", "epoch=2-val_loss=1e-3.ckpt"], "epoch=2-val_loss=1e-3.ckpt"),
        (["val_loss=0.4-epoch=3.ckpt", "val_loss=0.5-epoch=4.ckpt"], "val_loss=0.4-epoch=3.ckpt"),
        (["last.ckpt"], "last.ckpt"),
    ],
)
@pytest.mark.parametrize("folder", ["checkpoint-paircls", "tmp"])
def test_the_lowest_loss_is_chosen(tmp_path: Path, folder: str, names: list[str], expected: str) -> None:
    assert chosen(tmp_path / folder, *names) == expected


def test_the_choice_says_why(tmp_path: Path) -> None:
    chosen(tmp_path / "x", "epoch=1-val_loss=0.50.ckpt", "epoch=2-val_loss=0.50.ckpt", "last.ckpt")
    reason = choose_checkpoint(tmp_path / "x").reason
    assert "lowest val_loss (0.5) of 2" in reason
    assert "2 share it" in reason


@pytest.mark.parametrize("names", [[], ["notes.txt", "model.pt"], ["last.ckpt", "first.ckpt"]])
def test_nothing_usable_lists_what_was_found(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        chosen(tmp_path / "x", *names)
    assert all(name in str(caught.value) for name in names or ["nothing"])


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="doesn't exist"):
        choose_checkpoint(tmp_path / "none")


def test_lightning_weights_are_loaded_without_lightning(lightning_checkpoint: Path) -> None:
    assert "model.classifier.bias" in read_weights(lightning_checkpoint).tensors
    assert "pytorch_lightning" not in sys.modules


def test_only_the_prefix_is_stripped(tmp_path: Path) -> None:
    file = write_lightning_checkpoint(
        tmp_path / "a.ckpt", {"model.x": torch.zeros(1), "y.model.z": torch.zeros(1)}
    )
    tensors = read_weights(file).tensors
    assert {"model.x", "y.model.z"} <= set(own_names(tensors, {"model.x", "y.model.z"}).weights)


class Hostile:
    """Pickles as a call of `os.system`."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (self.command,)


def test_code_in_a_pickle_is_never_run(tmp_path: Path, pretrained: Path) -> None:
    trace = tmp_path / "was-here"
    hostile = Hostile(f"touch {trace}")
    pickle.loads(pickle.dumps(hostile))  # the trap works: unpickling runs the command
    assert trace.exists()
    trace.unlink()
    file = write_lightning_checkpoint(
        tmp_path / "x.ckpt", random_weights(pretrained), hyper_parameters=hostile
    )
    with pytest.raises(ConfigurationError, match=r"refused: its pickle refers to posix\.system"):
        read_weights(file)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_a_broken_file_is_an_error_of_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "epoch=0-val_loss=0.1.ckpt"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_weights(file)
    assert "can't be read" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 1}, tmp_path / "x.ckpt")
    with pytest.raises(ConfigurationError, match="holds no weights"):
        read_weights(tmp_path / "x.ckpt")


def test_what_is_written_is_a_hugging_face_folder(
    tiny_checkpoint: Path, pretrained: Path, lightning_checkpoint: Path
) -> None:
    config = json.loads((tiny_checkpoint / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "entailment", "1": "contradiction", "2": "neutral"}
    assert config["sentence_pair"] == {
        "name": "tiny",
        "max_seq_length": 64,
        "labels_from": "the tutorial's order, as ratsnlp numbers them",
        "source": lightning_checkpoint.name,
        "source_sha256": sha256_of(lightning_checkpoint),
    }
    written = load_file(tiny_checkpoint / "model.safetensors")
    expected = random_weights(pretrained)
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[name], expected[name]) for name in expected)
    BertForSequenceClassification.from_pretrained(tiny_checkpoint)


def faulty(weights: Weights, **changes: torch.Tensor | None) -> Weights:
    """Weights with some replaced, added, or (None) left out."""
    changed = weights | {name: value for name, value in changes.items() if value is not None}
    return {name: value for name, value in changed.items() if changes.get(name, value) is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bert.pooler.dense.bias": None}, "bert.pooler.dense.bias is missing"),
        ({"bert.extra.weight": torch.zeros(2)}, "bert.extra.weight is not part of BertForSequenceClass"),
        (
            {"bert.pooler.dense.bias": torch.zeros(5)},
            r"bert.pooler.dense.bias has shape \[5\] instead of \[32\]",
        ),
        ({"classifier.bias": None}, "no sequence-classification head"),
    ],
)
def test_a_weight_that_does_not_fit_is_named(
    pretrained: Path, tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    weights = faulty(random_weights(pretrained), **changes)
    file = write_lightning_checkpoint(tmp_path / "x.ckpt", weights)
    with pytest.raises(ConfigurationError, match=message):
        convert_checkpoint(file, str(pretrained), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["entailment", "contradiction"], "has 3 outputs, but 2 labels are named"),
        (["a", "b", "a"], "labels must be different"),
        (["a", "b", ""], "labels must be different and not empty"),
    ],
)
def test_labels_that_do_not_match_are_refused(
    pretrained: Path, lightning_checkpoint: Path, tmp_path: Path, labels: list[str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        convert_checkpoint(lightning_checkpoint, str(pretrained), tmp_path / "out", labels)


def test_another_number_and_order_of_labels(pretrained: Path, tmp_path: Path) -> None:
    file = write_lightning_checkpoint(tmp_path / "x.ckpt", random_weights(pretrained, labels=2))
    with pytest.raises(ConfigurationError, match="name the labels"):
        convert_checkpoint(file, str(pretrained), tmp_path / "out")
    convert_checkpoint(file, str(pretrained), tmp_path / "out", ["different", "same"])
    assert check_checkpoint(tmp_path / "out").labels == ("different", "same")


@pytest.mark.parametrize("length", [4, 81])
def test_a_length_the_model_has_no_positions_for_is_refused(
    pretrained: Path, lightning_checkpoint: Path, tmp_path: Path, length: int
) -> None:
    with pytest.raises(ConfigurationError, match="max_seq_length must be from 5 to 80"):
        convert_checkpoint(lightning_checkpoint, str(pretrained), tmp_path / "out", max_seq_length=length)


def test_nothing_is_overwritten_without_force(
    pretrained: Path, lightning_checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="--force"):
        convert_checkpoint(lightning_checkpoint, str(pretrained), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]
    convert_checkpoint(lightning_checkpoint, str(pretrained), tmp_path, force=True)
    assert {"README.md", "model.safetensors"} <= {file.name for file in tmp_path.iterdir()}


@pytest.mark.parametrize("missing", ["config.json", "vocab.txt"])
def test_a_pretrained_folder_without_config_or_vocabulary_is_refused(
    lightning_checkpoint: Path, tmp_path: Path, missing: str
) -> None:
    pretrained = write_pretrained(tmp_path / "pretrained")
    (pretrained / missing).unlink()
    with pytest.raises(ConfigurationError, match="pretrained"):
        convert_checkpoint(lightning_checkpoint, str(pretrained), tmp_path / "out")


def test_a_vocabulary_larger_than_the_embeddings_is_refused(tmp_path: Path) -> None:
    pretrained = write_pretrained(tmp_path / "pretrained", vocab_size=50)
    file = write_lightning_checkpoint(tmp_path / "x.ckpt", random_weights(pretrained))
    with pytest.raises(ConfigurationError, match=rf"has {len(VOCABULARY)} tokens, the model 50"):
        convert_checkpoint(file, str(pretrained), tmp_path / "out")


SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


@pytest.mark.parametrize("kind", ["roberta", "electra"])
def test_other_encoders_convert_too(tmp_path: Path, kind: str) -> None:
    if kind == "roberta":
        # As klue/roberta: RoBERTa's network with BERT's kind of vocabulary, and one token type.
        config: Any = RobertaConfig(
            vocab_size=len(VOCABULARY), max_position_embeddings=66, pad_token_id=0, type_vocab_size=1, **SMALL
        )
        model: Any = RobertaForSequenceClassification
    else:
        config = ElectraConfig(vocab_size=len(VOCABULARY), embedding_size=16, **SMALL)
        model = ElectraForSequenceClassification
    pretrained = write_pretrained(tmp_path / "pretrained")
    config.tokenizer_class = "BertTokenizer"
    config.save_pretrained(pretrained)
    config.num_labels = 3
    torch.manual_seed(0)
    file = write_lightning_checkpoint(tmp_path / "x.ckpt", model(config).state_dict())
    convert_checkpoint(file, str(pretrained), tmp_path / "out")
    assert check_checkpoint(tmp_path / "out").labels == ("entailment", "contradiction", "neutral")


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_a_fine_tuned_hugging_face_folder_in_place_of_a_checkpoint(
    pretrained: Path, tmp_path: Path, weights: str
) -> None:
    folder = write_pretrained(tmp_path / "fine-tuned")
    model = BertForSequenceClassification.from_pretrained(
        None,
        config=BertConfig.from_pretrained(
            pretrained, num_labels=3, id2label={0: "neutral", 1: "entailment", 2: "contradiction"}
        ),
        state_dict=random_weights(pretrained),
    )
    model.save_pretrained(folder)
    if weights == "pytorch_model.bin":
        torch.save(model.state_dict(), folder / weights)
        (folder / "model.safetensors").unlink()
    choice = choose_checkpoint(folder)
    assert choice.file.name == weights
    convert_checkpoint(choice.file, None, tmp_path / "out")
    assert check_checkpoint(tmp_path / "out").labels == ("neutral", "entailment", "contradiction")


def test_the_command_prints_its_choice_and_its_errors_in_one_line(
    pretrained: Path, lightning_checkpoint: Path, tmp_path: Path
) -> None:
    arguments = ["--checkpoint", str(lightning_checkpoint.parent), "--output", str(tmp_path / "out")]
    refused = call(main, *arguments)
    assert refused.returncode == 1
    assert "--pretrained" in refused.stderr
    done = call(main, *arguments, "--pretrained", str(pretrained))
    assert done.returncode == 0, done.stderr
    assert "lowest val_loss (0.5) of 1" in done.stdout
    again = call(main, *arguments, "--pretrained", str(pretrained))
    assert (again.returncode, len(again.stderr.splitlines())) == (1, 1)
    assert "--force" in again.stderr


def test_half_stores_float16_which_is_loaded_as_float32(
    pretrained: Path, lightning_checkpoint: Path, tmp_path: Path
) -> None:
    converted = convert_checkpoint(lightning_checkpoint, str(pretrained), tmp_path / "half", half=True)
    stored = load_file(converted / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}
    loaded = torch_model.load_weights(converted).state_dict()
    assert {value.dtype for value in loaded.values()} == {torch.float32}
    for name, value in read_weights(lightning_checkpoint).tensors.items():
        if name in loaded:
            torch.testing.assert_close(loaded[name], value, rtol=1e-3, atol=1e-6)
    check_checkpoint(converted)
