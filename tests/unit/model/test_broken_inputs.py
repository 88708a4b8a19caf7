"""A hundred broken inputs: each is answered by one line under 300 characters, and nothing is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from scripts.convert_checkpoint import main
from tests.commands import call
from tests.making import random_weights, write_lightning_checkpoint, write_pretrained

LABELS = {"0": "entailment", "1": "neutral", "2": "contradiction"}
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, pretrained: Path) -> Path:
    """A folder that converts: every file that can be broken is there."""
    folder = write_pretrained(tmp_path_factory.mktemp("good") / "fine-tuned")
    config = BertConfig.from_pretrained(pretrained, num_labels=3, id2label=LABELS)
    model = BertForSequenceClassification.from_pretrained(
        None, config=config, state_dict=random_weights(pretrained)
    )
    model.save_pretrained(folder)
    BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def config_with(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(content | changes), encoding="utf-8")

    return change


def tokenizer_with(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        file = folder / "tokenizer.json"
        file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")

    return change


def replaced(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str, share: float) -> Change:
    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return change


def removed(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names or [file.name for file in folder.iterdir()]:
            (folder / name).unlink()

    return change


def made_a_folder(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def as_bin(content: Any) -> Change:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        torch.save(content, folder / "pytorch_model.bin")

    return change


def index_of(content: bytes) -> Change:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_bytes(content)

    return change


def vocabulary_alone(content: bytes) -> Change:
    def change(folder: Path) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink(missing_ok=True)
        (folder / "vocab.txt").write_bytes(content)

    return change


CONFIG_VALUES: dict[str, tuple[Any, ...]] = {
    "model_type": (3, "nonesuch", "t5", "vit", ["bert"]),
    "vocab_size": (-1, 0, "many", 3, None),
    "hidden_size": (0, "wide", 31, None),
    "num_attention_heads": (0, 7, "two"),
    "num_hidden_layers": (0, -1, 5, "few"),
    "max_position_embeddings": (8, "long"),
    "hidden_act": ("nonesuch", 4),
    "problem_type": ("regression", "multi_label_classification", "nonesuch", 3),
    "is_decoder": (True,),
    "is_encoder_decoder": (True,),
    "id2label": ({"0": "a"}, {"0": "a", "1": "a", "2": "b"}, {"x": 1}, {"0": None, "1": 2, "2": 3}, 5),
    "label2id": ({"a": 0, "b": 1, "c": 2}, {"a": 0, "b": 0, "c": 0}),
}


def broken() -> Iterator[tuple[str, Change]]:
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        for share in (0, 0.01, 0.3, 0.9, 0.99):
            yield f"{name} cut to {share}", cut(name, share)
        for content in (
            b"\x00" * 64,
            b"null",
            b"[]",
            b"[1, 2]",
            b'"text"',
            b"{}",
            b"{",
            b"\xff\xfe{}",
            b"not json",
        ):
            yield f"{name} is {content[:9]!r}", replaced(name, content)
        if name != "tokenizer.json":  # without it vocab.txt is read
            yield f"{name} is a folder", made_a_folder(name)
    yield "no config", removed("config.json")
    yield "no tokenizer", removed("tokenizer.json", "tokenizer_config.json", "vocab.txt")
    yield "nothing at all", removed()
    for key, values in CONFIG_VALUES.items():
        for value in values:
            yield f"{key} is {value!r}", config_with(**{key: value})
    yield "no labels", config_with(id2label=None, label2id=None)
    yield "no normalizer that exists", tokenizer_with(normalizer={"type": "Nonesuch"})
    yield (
        "a vocabulary of another size",
        tokenizer_with(
            model={
                "type": "WordPiece",
                "vocab": {str(number): number for number in range(999)},
                "unk_token": "0",
            }
        ),
    )
    yield "an empty model", tokenizer_with(model={"type": "WordPiece", "vocab": {}, "unk_token": "[UNK]"})
    for content in (b"", b"\n", b"\xff\xfe\xfd", b"\x00" * 9, "가\n나\n".encode("cp949"), b"[PAD]\n[UNK]\n"):
        yield f"vocab.txt alone is {content[:9]!r}", vocabulary_alone(content)
    yield "no weights", as_bin({"epoch": 1})
    yield "weights of something else", as_bin({"x": torch.ones(2)})
    yield "a list", as_bin([torch.ones(2)])
    yield "a number", as_bin(3)
    yield "a tensor", as_bin(torch.ones(2))
    for content in (
        b"",
        b"{}",
        b"[]",
        b'{"weight_map": {}}',
        b'{"weight_map": {"x": "../x"}}',
        b'{"weight_map": 3}',
    ):
        yield f"index {content!r}", index_of(content)
    yield "a shard is missing", index_of(b'{"weight_map": {"x": "model-00001-of-00002.safetensors"}}')
    yield "a shard is a number", index_of(b'{"weight_map": {"x": 3}}')


CASES = dict(broken())


def test_there_are_a_hundred() -> None:
    assert len(CASES) >= 100


@pytest.mark.parametrize("change", CASES.values(), ids=CASES)
def test_a_broken_folder_is_refused_in_one_line(good: Path, tmp_path: Path, change: Change) -> None:
    folder = shutil.copytree(good, tmp_path / "x")
    change(folder)
    answer = call(main, "--checkpoint", str(folder), "--output", str(tmp_path / "out"))
    refused(answer, tmp_path / "out")


def refused(answer: Any, output: Path) -> None:
    assert answer.returncode == 1, answer.stdout
    lines = [line for line in answer.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, answer.stderr
    assert len(lines[0]) < 300, lines
    assert "Traceback" not in answer.stderr
    assert not output.exists()


def test_the_folder_converts_unbroken(good: Path, tmp_path: Path) -> None:
    answer = call(main, "--checkpoint", str(good), "--output", str(tmp_path / "한국어, 두 번째"))
    assert answer.returncode == 0, answer.stderr
    assert "labels: entailment, neutral, contradiction (id2label in config.json)" in answer.stdout
    assert "Hangul kept whole" in answer.stdout


@pytest.mark.parametrize("share", [0, 0.001, 0.2, 0.7, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_lightning_checkpoint_cut_short_is_refused(
    pretrained: Path, tmp_path: Path, share: float, zipped: bool
) -> None:
    file = write_lightning_checkpoint(tmp_path / "a.ckpt", random_weights(pretrained))
    if not zipped:
        torch.save(random_weights(pretrained), file, _use_new_zipfile_serialization=False)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    answer = call(
        main, "--checkpoint", str(file), "--pretrained", str(pretrained), "--output", str(tmp_path / "o")
    )
    refused(answer, tmp_path / "o")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--pretrained", "nonesuch/model"],
        ["--pretrained", "/nonesuch"],
        ["--pretrained", ""],
        ["--max-seq-length", "4"],
        ["--max-seq-length", "-1"],
        ["--max-seq-length", "100000"],
        ["--labels", ""],
        ["--labels", "a,b"],
        ["--labels", "a,,c"],
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(
    lightning_checkpoint: Path,
    pretrained: Path,
    tmp_path: Path,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    given = ["--checkpoint", str(lightning_checkpoint), "--pretrained", str(pretrained), *arguments]
    refused(call(main, *given, "--output", str(tmp_path / "out")), tmp_path / "out")


def test_a_place_that_cannot_be_written_is_refused(good: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = call(main, "--checkpoint", str(good), "--output", str(tmp_path / "file" / "out"))
    refused(answer, tmp_path / "out")
    assert "can't be written" in answer.stderr
