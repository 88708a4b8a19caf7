"""Precisions: int8 that answers as float32 does, and a gate that keeps out what doesn't."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from numpy.typing import NDArray
from openvino import opset13 as operators
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from handler.checkpoint import Checkpoint, Precision
from handler.encoding import PairEncoder
from handler.engine import load_engine
from handler.errors import ConfigurationError
from scripts.model.gate import Gate
from scripts.model.precision import check_calibration_is_possible, compress_weights, write_model
from scripts.pairs.text_file import DataError
from tests.making import TINY_SHAPE, answers, some_pairs, write_rows

CPU = torch.device("cpu")


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.05)])
def test_an_exported_graph_answers_as_the_checkpoint_does(
    tiny_checkpoint: Path, tmp_path: Path, precision: Precision, tolerance: float
) -> None:
    checkpoint = Checkpoint.read(tiny_checkpoint)
    write_model(checkpoint, precision, tmp_path)
    written = Checkpoint.read(tmp_path)
    assert written.precision == precision
    pairs = some_pairs(60)
    difference = np.abs(answers(written, pairs) - answers(checkpoint, pairs)).max()
    assert 0 < difference < tolerance


@pytest.mark.parametrize("kind", ["bert of one type", "electra", "roberta"])
def test_what_is_no_usual_bert_is_exported_for_padded_batches(
    tiny_checkpoint: Path, tmp_path: Path, kind: str
) -> None:
    shape = TINY_SHAPE | {"initializer_range": 0.3, "num_labels": 3}
    torch.manual_seed(0)
    model: PreTrainedModel
    if kind == "roberta":
        model = RobertaForSequenceClassification(RobertaConfig(**shape, type_vocab_size=1))
    elif kind == "electra":
        model = ElectraForSequenceClassification(ElectraConfig(**shape, embedding_size=16))
    else:
        model = BertForSequenceClassification(BertConfig(**shape, type_vocab_size=1))
    folder = tmp_path / "checkpoint"
    model.save_pretrained(folder)
    own = json.loads((tiny_checkpoint / "config.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {key: own[key] for key in ("id2label", "label2id", "sentence_pair")}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shutil.copy(tiny_checkpoint / "tokenizer.json", folder)
    checkpoint, written = Checkpoint.read(folder), tmp_path / "written"
    written.mkdir()
    write_model(checkpoint, "fp32", written)
    pairs = some_pairs(60)
    difference = np.abs(answers(Checkpoint.read(written), pairs) - answers(checkpoint, pairs)).max()
    assert 0 < difference < 1e-5


def test_half_precision_keeps_the_weights_for_pytorch(tiny_checkpoint: Path, tmp_path: Path) -> None:
    write_model(Checkpoint.read(tiny_checkpoint), "fp16", tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    pairs = some_pairs(10)
    same = answers(Checkpoint.read(tmp_path), pairs) == answers(Checkpoint.read(tiny_checkpoint), pairs)
    assert same.all()  # without a GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_half_precision_on_a_gpu_answers_alike(tiny_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.read(tiny_checkpoint)
    write_model(checkpoint, "fp16", tmp_path)
    encoded = PairEncoder.from_folder(tmp_path, 64).encode(some_pairs(60))
    engine = load_engine(Checkpoint.read(tmp_path), torch.device("cuda:0"), 1)
    difference = np.abs(np.array(engine.probabilities(encoded)) - answers(checkpoint, some_pairs(60))).max()
    assert 0 < difference < 0.01


def test_labels_are_checked_before_the_work(tiny_checkpoint: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "pairs.jsonl", some_pairs(3), ["neutral", "2", "maybe"])
    with pytest.raises(DataError, match="row 3 has the label 'maybe'"):
        write_model(Checkpoint.read(tiny_checkpoint), "int8", tmp_path, Gate(file))


@pytest.mark.parametrize(("precision", "kept"), [("int8", True), ("fp32", False)])
def test_int8_without_pairs_keeps_the_figures_that_the_checkpoint_records(
    tiny_checkpoint: Path, tmp_path: Path, precision: Precision, kept: bool
) -> None:
    folder, written = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"), tmp_path / "written"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["sentence_pair"]["comparison"] = {"pairs": 1500, "agreement": 99.0}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    written.mkdir()
    write_model(Checkpoint.read(folder), precision, written)
    section = json.loads((written / "config.json").read_text(encoding="utf-8"))["sentence_pair"]
    assert ("comparison" in section) == kept
    assert not kept or section["comparison"]["pairs"] == 1500


def test_int8_without_pairs_answers_nearly_as_the_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.read(tiny_checkpoint)
    write_model(checkpoint, "int8", tmp_path)
    assert Checkpoint.read(tmp_path).precision == "int8"
    pairs = some_pairs(60)
    difference = np.abs(answers(Checkpoint.read(tmp_path), pairs) - answers(checkpoint, pairs)).max()
    assert 1e-5 < difference < 0.05


@pytest.mark.parametrize("transposed", [True, False])
def test_each_output_of_a_matrix_and_each_row_of_a_table_keeps_its_own_scale(transposed: bool) -> None:
    generator = np.random.default_rng(0)
    # Outputs of very different size, and one that is always zero.
    sizes = np.array([1e-4, 1, 1e3, 0], dtype=np.float32)[:, None]
    table = generator.normal(size=(4, 160)).astype(np.float32) * sizes
    matrix = generator.normal(size=(4, 160)).astype(np.float32) * sizes
    ids, left = operators.parameter([-1], np.int64), operators.parameter([-1, 160], np.float32)
    rows = operators.gather(operators.constant(table), ids, operators.constant(0))
    right = operators.constant(matrix if transposed else np.ascontiguousarray(matrix.T))
    graph = openvino.Model([rows, operators.matmul(left, right, False, transposed)], [ids, left])

    def answers() -> list[NDArray[np.float32]]:
        compiled = openvino.compile_model(graph, "CPU", {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0})
        inputs = [np.arange(4), np.eye(160, dtype=np.float32)]
        return [np.array(value) for value in compiled(inputs).values()]

    before = answers()
    compress_weights(graph)
    for exact, found, spread in zip(before, answers(), (sizes, sizes.T), strict=True):
        difference = np.abs(found - exact).max(axis=1 if spread is sizes else 0)
        assert (difference <= 0.02 * spread.ravel()).all()
        assert difference[1] > 1e-4
    kinds = [each.get_element_type() for each in graph.get_ops() if each.get_type_name() == "Constant"]
    assert kinds.count(openvino.Type.i8) == 2


def test_a_graph_without_a_matrix_of_weights_is_refused() -> None:
    left, right = operators.parameter([-1, 4], np.float32), operators.parameter([4, 4], np.float32)
    with pytest.raises(ConfigurationError, match="no matrix of weights"):
        compress_weights(openvino.Model([operators.matmul(left, right, False, True)], [left, right]))


def test_calibration_says_first_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    check_calibration_is_possible()
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ConfigurationError, match="scripts/setup build"):
        check_calibration_is_possible()
