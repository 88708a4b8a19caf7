"""The training of the demo model, on a few sentences of the test's own."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from handler.encoding import PairEncoder
from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts import PROJECT
from scripts.demo.demo_data import make_tokenizer
from scripts.model.conversion import convert_checkpoint
from scripts.model.weights import load_weights
from scripts.train_demo import train_demo

WHO = ["누나", "형", "엄마", "아빠", "친구", "동생", "이모", "삼촌", "선생님", "할머니", "의사", "가수"]
WHAT = ["사과", "빵", "우유", "책", "가방", "신문"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the names and forms of the real one, and other sentences."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for who in WHO:
        for what in WHAT:
            premise = f"{who} 어제 시장에서 {what} 샀다."
            for label, hypothesis in (
                ("entailment", f"{who} {what} 샀다."),
                ("contradiction", f"{who} {what} 사지 않았다."),
                ("neutral", f"{who} {what} 두 개 좋아한다."),
            ):
                rows.append({"premise": premise, "hypothesis": hypothesis, "gold_label": label})
    (folder / "klue-nli-v1.1_train.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    plain = [f"{who} 오늘 {what} 찾고 있습니다" for who in WHO for what in WHAT]

    def table(name: str, delimiter: str, heading: list[str], lines: list[list[str]]) -> None:
        with (folder / name).open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows([heading, *lines])

    labelled = [[plain[0], plain[1], "neutral"], [plain[2], plain[2], "entailment"]] * 10
    table("xnli.dev.ko.tsv", "\t", ["sentence1", "sentence2", "gold_label"], labelled)
    scored = [["captions", "file", "2012", "1", "2.5", *pair] for pair in pairwise(plain)]
    table("korsts-train.tsv", "\t", ["genre", "filename", "year", "id", "score", "one", "two"], scored)
    asked = [["1", "1", "2", text, text, "1"] for text in plain]
    table("question-pair-train.csv", ",", ["id", "qid1", "qid2", "one", "two", "is_duplicate"], asked)
    answered = [[text, f"{text}, 그렇군요.", "0"] for text in plain]
    table("chatbot-data.csv", ",", ["Q", "A", "label"], answered)
    (folder / "paraKQC_v1.txt").write_text("".join(f"0\t0\t{text}\r\n" for text in plain), encoding="utf-8")
    (folder / "3i4k-fci.txt").write_text("".join(f"1\t{text}\r\n" for text in plain), encoding="utf-8")
    return folder


def command(data: Path, output: Path) -> list[str]:
    return [sys.executable, "scripts/train_demo.py", "--data", str(data), "--output", str(output), "--quick"]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(PROJECT)}


def train(data: Path, output: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(data, output), cwd=PROJECT, env=environment(), capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a quick training, and what it said."""
    output = tmp_path_factory.mktemp("trained")
    done = train(data, output)
    assert done.returncode == 0, done.stderr
    return output, done.stdout


def checkpoint_of(folder: Path) -> Path:
    (file,) = folder.glob("epoch=*-val_loss=*.ckpt")
    return file


def test_states_accuracy_time_and_machine(trained: tuple[Path, str]) -> None:
    output, said = trained
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert sum(map(sum, report["held_out"]["confusion"])) == 39
    assert "minutes on 1 of" in said
    assert set(report["recall"]) == {"entailment", "contradiction", "neutral"}


def test_checkpoint_goes_through_the_conversion(trained: tuple[Path, str], tmp_path: Path) -> None:
    output, _ = trained
    file = checkpoint_of(output)
    content = torch.load(file, weights_only=True)
    assert {"epoch", "global_step", "state_dict"} <= set(content)
    assert all(name.startswith("model.") for name in content["state_dict"])
    converted = convert_checkpoint(file, str(output / "pretrained"), tmp_path / "demo")
    config = json.loads((converted / "config.json").read_text(encoding="utf-8"))
    assert list(config["id2label"].values()) == ["entailment", "contradiction", "neutral"]
    assert config["max_position_embeddings"] == 64
    vocabulary = (output / "pretrained" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert config["vocab_size"] == len(vocabulary)


def test_trains_on_what_the_service_will_read(trained: tuple[Path, str], tmp_path: Path) -> None:
    output, _ = trained
    converted = convert_checkpoint(checkpoint_of(output), str(output / "pretrained"), tmp_path / "demo")
    vocabulary = (output / "pretrained" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    pairs = [
        SentencePair("누나 사과 샀다.", "Über 漢字 [SEP] 누나 ABC!"),
        SentencePair("가방 " * 70, "우유 " * 70),
    ]
    served = PairEncoder.from_folder(converted, 64).encode(pairs)
    assert served == PairEncoder(make_tokenizer(vocabulary), 64).encode(pairs)


def test_a_killed_run_goes_on_and_ends_the_same(
    data: Path, trained: tuple[Path, str], tmp_path: Path
) -> None:
    output = tmp_path / "killed"
    first = output / "state.pt"
    with subprocess.Popen(
        command(data, output), cwd=PROJECT, env=environment(), stdout=subprocess.DEVNULL
    ) as run:
        while not first.exists() and run.poll() is None:
            time.sleep(0.005)
        run.send_signal(signal.SIGKILL)
    assert first.exists()
    done = train(data, output)
    assert done.returncode == 0, done.stderr
    assert "going on after epoch" in done.stdout
    whole, resumed = (load_weights(checkpoint_of(folder)) for folder in (trained[0], output))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_folder_without_the_data_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="klue-nli"):
        train_demo(tmp_path, tmp_path / "output", quick=True)


def test_a_run_of_another_recipe_is_left_alone(data: Path, trained: tuple[Path, str]) -> None:
    with pytest.raises(ConfigurationError, match="another recipe"):
        train_demo(data, trained[0], quick=False)


def test_a_file_in_the_place_of_the_output_is_a_users_mistake(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="can't be written"):
        train_demo(data, tmp_path / "file", quick=True)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"
