"""Encoders: a small random model of each kind answers as transformers does, or is refused."""

from __future__ import annotations

import inspect
import json
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification, AutoTokenizer, BertTokenizer

from handler.checkpoint import Checkpoint
from handler.encoding import PairEncoder
from handler.engine import Engine, load_engine
from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts import PROJECT
from scripts.model import export
from scripts.model.conversion import convert_checkpoint
from scripts.model.packed_bert import PackedBert
from scripts.model.precision import write_model
from tests.making import TINY_SHAPE, write_pretrained

LABELS = ["entailment", "contradiction", "neutral"]
PAIRS = [
    SentencePair("가", "나"),
    SentencePair("남자가 책을 읽는다.", "여자가 비를 맞지 않았다."),
    SentencePair("오늘은 날씨가 맑다", "비가 온다"),
    SentencePair("가 나 다 라 마 바 사 " * 5, "자 차 카 타 파 " * 5),
    SentencePair("A man reads a book.", "그는 책을 고르지 않았다!"),
    SentencePair("비가 온다", "가"),
]
SHAPE = {**TINY_SHAPE, "initializer_range": 0.3}

PADDED: dict[str, dict[str, Any]] = {
    "bert": {},
    "bert one type": {"model_type": "bert", "type_vocab_size": 1},
    "electra": {"embedding_size": 16},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "roberta": {"type_vocab_size": 1, "pad_token_id": 1},
    "xlm-roberta": {"type_vocab_size": 1, "pad_token_id": 1},
    "camembert": {"type_vocab_size": 1, "pad_token_id": 1},
    "deberta": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    "albert": {"embedding_size": 16},
    "roformer": {"embedding_size": 32},
    "mpnet": {"pad_token_id": 1},
    "ernie": {},
    "big_bird": {"attention_type": "original_full"},
    "kobigbird": {"model_type": "big_bird", "attention_type": "block_sparse", "block_size": 16},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8},
    "modernbert mean": {"model_type": "modernbert", "classifier_pooling": "mean", "local_attention": 8},
    "megatron-bert": {},
    "squeezebert": {"embedding_size": 32},
    "rembert": {"input_embedding_size": 32},
    "eurobert": {},
}
EVEN: dict[str, dict[str, Any]] = {
    "convbert": {"embedding_size": 32, "head_ratio": 2, "conv_kernel_size": 3},
    "mobilebert": {"embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32},
    "fnet": {},
}
REFUSED: dict[str, dict[str, Any]] = {
    "longformer": {"attention_window": 16, "max_position_embeddings": 96},
    "xmod": {"pad_token_id": 1, "languages": ["ko"], "default_language": "ko"},
    "gpt2": {},
    "llama": {},
    "xlm": {},
}
DECODER = {"bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}


def make(folder: Path, kind: str, changes: dict[str, Any]) -> Path:
    write_pretrained(folder)
    BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    name = changes.get("model_type", kind)
    config = CONFIG_MAPPING[name].from_dict(
        {**SHAPE, **DECODER, **changes, "model_type": name, "id2label": dict(enumerate(LABELS))}
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()  # type: ignore[no-untyped-call]
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(
        json.dumps(stated | {"tokenizer_class": "BertTokenizer"}), encoding="utf-8"
    )
    return folder


def convert_and_build(folder: Path, output: Path) -> tuple[Engine, PairEncoder, list[str]]:
    lines: list[str] = []
    convert_checkpoint(folder / "model.safetensors", None, output / "converted", report=lines.append)
    checkpoint = Checkpoint.read(output / "converted")
    served = output / "served"
    served.mkdir()
    write_model(checkpoint, "fp32", served, report=lines.append)
    engine = load_engine(replace(checkpoint, folder=served, precision="fp32"), torch.device("cpu"), 1)
    return engine, PairEncoder.from_folder(served, 64), lines


@torch.inference_mode()
def by_transformers(folder: Path) -> list[NDArray[np.float64]]:
    """The answers that transformers gives with the folder's own tokenizer, each pair alone."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    takes = inspect.signature(model.forward).parameters
    answers = []
    for pair in PAIRS:
        inputs = dict(tokenizer(pair.premise, pair.hypothesis, return_tensors="pt"))
        if getattr(model.config, "type_vocab_size", 2) == 1:
            inputs.pop("token_type_ids")  # type 1 isn't in the table
        inputs = {name: value for name, value in inputs.items() if name in takes}
        answers.append(model(**inputs).logits[0].double().softmax(0).numpy())
    return answers


@pytest.mark.parametrize(("kind", "changes"), [*PADDED.items(), *EVEN.items()], ids=[*PADDED, *EVEN])
def test_an_encoder_answers_as_in_transformers(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    folder = make(tmp_path / "x", kind, changes)
    engine, encoder, lines = convert_and_build(folder, tmp_path)
    expected = by_transformers(folder)
    for batch in ([index] for index in range(len(PAIRS))), [list(range(len(PAIRS)))], [[3, 1, 1, 0]]:
        for indexes in batch:
            encoded = encoder.encode([PAIRS[index] for index in indexes])
            for index, found in zip(indexes, engine.probabilities(encoded), strict=True):
                assert not isinstance(found, Exception)
                assert np.abs(found - expected[index]).max() < 1e-5, (kind, indexes, index)
    assert max(answer.max() for answer in expected) - min(answer.max() for answer in expected) > 1e-3
    assert any("padding would change answers" in line for line in lines) == (kind in EVEN)


@pytest.mark.parametrize(("kind", "changes"), REFUSED.items(), ids=REFUSED)
def test_an_encoder_that_cannot_be_served_rightly_is_refused(
    tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    folder = make(tmp_path / "x", kind, changes)
    with pytest.raises(ConfigurationError) as caught:
        convert_and_build(folder, tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert not (tmp_path / "served" / "model.xml").exists()


def test_a_sparse_bigbird_longer_than_its_full_attention_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "x", "big_bird", {"attention_type": "block_sparse", "block_size": 4})
    with pytest.raises(ConfigurationError, match="up to --max-seq-length 44"):
        convert_checkpoint(folder / "model.safetensors", None, tmp_path / "out")


def test_a_graph_that_disagrees_with_pytorch_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "x", "bert", {})
    monkeypatch.setattr(export, "LENGTHS", (2, 60))
    plain = PackedBert.forward

    def forward(self: PackedBert, *inputs: torch.Tensor) -> torch.Tensor:
        return plain(self, *inputs) * 1.001

    monkeypatch.setattr(PackedBert, "forward", forward)
    convert_and_build(folder, tmp_path)
    graph = (tmp_path / "served" / "model.xml").read_text(encoding="utf-8")
    assert "segments" not in graph  # the padded graph, which agrees, took its place
    assert "attention_mask" in graph


@pytest.mark.parametrize(("kind", "served"), [("bert", True), ("fnet", True), ("convbert", False)])
def test_half_precision_is_refused_where_padding_changes_answers(
    tmp_path: Path, kind: str, served: bool
) -> None:
    folder = make(tmp_path / "x", kind, (PADDED | EVEN)[kind])
    convert_checkpoint(folder / "model.safetensors", None, tmp_path / "out")
    (tmp_path / "served").mkdir()
    if served:
        write_model(Checkpoint.read(tmp_path / "out"), "fp16", tmp_path / "served")
    else:
        with pytest.raises(ConfigurationError, match="padding changes the answers of ConvBert"):
            write_model(Checkpoint.read(tmp_path / "out"), "fp16", tmp_path / "served")


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    folder = make(tmp_path / "x", "bert", {})
    command = [
        sys.executable,
        str(PROJECT / "scripts" / "convert_checkpoint.py"),
        "--checkpoint",
        str(folder),
    ]

    def limit_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out")],
        preexec_fn=limit_files,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert "can't be written" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
