"""`scripts/train.py` on a tiny encoder and sentences of the test's own, then conversion and archive."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from handler.checkpoint import Checkpoint
from handler.encoding import PairEncoder
from handler.engine import load_engine
from scripts import PROJECT
from scripts.model.archive import build_archive
from scripts.model.conversion import convert_checkpoint
from scripts.model.weights import choose_checkpoint
from scripts.pairs.labelled import read_labelled_pairs
from tests.making import write_labelled_pairs, write_pretrained


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled_pairs(tmp_path_factory.mktemp("data") / "pairs.json")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder with random weights, and dropout that the training must turn off."""
    folder = write_pretrained(tmp_path_factory.mktemp("encoder"))
    torch.manual_seed(0)
    BertModel(BertConfig.from_pretrained(folder, initializer_range=0.15)).save_pretrained(folder)
    return folder


def command(data: Path, output: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "scripts.train", "--quick", "--data", str(data), "--output", str(output)]
    return [*start, "--epochs", "10", "--learning-rate", "2e-3", "--max-seq-length", "48", *more]


def train(data: Path, output: Path, *more: str) -> dict[str, Any]:
    """Run a training to its end; its figures."""
    done = subprocess.run(
        command(data, output, *more), cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads((output / "figures.json").read_text(encoding="utf-8"))
    return figures


@pytest.fixture(scope="module")
def trained(data: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that nothing interrupted."""
    output = tmp_path_factory.mktemp("whole") / "model"
    train(data, output, "--pretrained", str(encoder), "--held-out", "90", "--test", "30")
    return output


def figures_of(folder: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    return {key: value for key, value in figures.items() if "seconds" not in key}


def test_learns_and_states_how_well(trained: Path) -> None:
    figures = figures_of(trained)
    assert figures["held_out"]["accuracy"] > 0.8
    assert figures["held_out"]["pairs"] == 90
    assert figures["training_pairs"] == 240
    assert 0.5 <= figures["temperature"] <= 3
    config = json.loads((trained / "config.json").read_text(encoding="utf-8"))
    assert config["hidden_dropout_prob"] == 0
    assert not (trained / "states").exists()


def test_holds_out_by_premise(data: Path, trained: Path) -> None:
    held_out, test = (
        {row.pair.premise for row in read_labelled_pairs(trained / name)}
        for name in ("held_out.jsonl", "test.jsonl")
    )
    assert len(held_out) == 30
    assert len(test) == 10
    assert held_out.isdisjoint(test)


def test_goes_through_conversion_and_archive(data: Path, trained: Path, tmp_path: Path) -> None:
    choice = choose_checkpoint(trained)
    converted = convert_checkpoint(choice.file, None, tmp_path / "mine", max_seq_length=48)
    checkpoint = Checkpoint.read(converted)
    assert checkpoint.labels == ("entailment", "contradiction", "neutral")
    assert checkpoint.training_data == data.name
    archive = build_archive(converted, "1.0", tmp_path / "nli-1.0.mar")
    assert archive.stat().st_size > 10_000


def test_what_was_measured_is_what_is_served(trained: Path, tmp_path: Path) -> None:
    converted = convert_checkpoint(
        choose_checkpoint(trained).file, None, tmp_path / "mine", max_seq_length=48
    )
    checkpoint = Checkpoint.read(converted)
    rows = read_labelled_pairs(trained / "held_out.jsonl")
    encoded = PairEncoder.from_folder(converted, 48).encode([row.pair for row in rows])
    results = load_engine(checkpoint, torch.device("cpu"), 1).probabilities(encoded)
    right = 0
    for row, result in zip(rows, results, strict=True):
        assert not isinstance(result, Exception)
        right += checkpoint.labels[int(result.argmax())] == row.label
    assert right / len(rows) == pytest.approx(figures_of(trained)["held_out"]["accuracy"], abs=0.02)


def test_a_killed_run_ends_with_the_same_figures(
    data: Path, encoder: Path, trained: Path, tmp_path: Path
) -> None:
    output = tmp_path / "model"
    options = "--pretrained", str(encoder), "--held-out", "90", "--test", "30"
    with subprocess.Popen(
        command(data, output, *options), cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if ", epoch 1.5" in line:
                running.send_signal(signal.SIGKILL)
                break
    assert running.returncode == -signal.SIGKILL
    assert list(output.glob("states/checkpoint-*/trainer_state.json"))
    assert not (output / "figures.json").exists()
    resumed = subprocess.run(
        command(data, output, *options), cwd=PROJECT, capture_output=True, text=True, timeout=300, check=True
    )
    assert "going on after step" in resumed.stdout
    assert figures_of(output) == figures_of(trained)


def test_several_processes_share_a_training(data: Path, encoder: Path, tmp_path: Path) -> None:
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    options = command(data, tmp_path / "model", "--pretrained", str(encoder), "--held-out", "90")
    done = subprocess.run(
        [*started, *options[1:]], cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("held out: ") == 1
    assert figures_of(tmp_path / "model")["held_out"]["accuracy"] > 0.8


def test_a_student_has_fewer_layers_and_nearly_the_answers(data: Path, trained: Path, tmp_path: Path) -> None:
    figures = train(data, tmp_path / "small", "--teacher", str(trained), "--layers", "1", "--held-out", "90")
    config = json.loads((tmp_path / "small" / "config.json").read_text(encoding="utf-8"))
    assert config["num_hidden_layers"] == 1
    assert list(config["id2label"].values()) == ["entailment", "contradiction", "neutral"]
    assert figures["held_out"]["accuracy"] > 0.7


def test_a_student_learns_from_pairs_without_labels(trained: Path, data: Path, tmp_path: Path) -> None:
    rows = json.loads(data.read_text(encoding="utf-8"))
    file = tmp_path / "unlabelled.jsonl"
    texts = [{key: row[key] for key in ("premise", "hypothesis")} for row in rows]
    file.write_text("\n".join(map(json.dumps, texts)), encoding="utf-8")
    figures = train(file, tmp_path / "small", "--teacher", str(trained), "--layers", "1", "--held-out", "90")
    assert figures["agreement_with_teacher"]["share"] > 0.7
