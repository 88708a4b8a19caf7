"""Archives: complete, reproducible, and never made of a checkpoint that can't be served."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from handler import checkpoint
from handler.checkpoint import Checkpoint
from handler.errors import ConfigurationError
from scripts import PROJECT, VERSION
from scripts.build_archive import main
from scripts.model import archive as archives
from scripts.model.archive import (
    archive_of,
    build_archive,
    check_checkpoint,
    check_model_config,
    fingerprint,
)
from tests.commands import call


def test_an_archive_holds_the_handler_the_model_and_nothing_else(tiny_archive: Path) -> None:
    with zipfile.ZipFile(tiny_archive) as archive:
        names = set(archive.namelist())
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
    files = (PROJECT / "handler").rglob("*.*")
    code = {str(file.relative_to(PROJECT)) for file in files if "__pycache__" not in file.parts}
    code = (code - {"handler/service.py"}) | {"service.py"}
    assert names == code | {
        "MAR-INF/MANIFEST.json",
        "config.json",
        "model.bin",
        "model.xml",
        "tokenizer.json",
        "model-config.yaml",
    }
    assert manifest["model"]["modelName"] == "nli"
    assert manifest["model"]["modelVersion"] == "1.0"
    assert manifest["builtBy"] == VERSION


def test_a_model_card_travels_and_is_part_of_the_description(tiny_checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    (copy / "README.md").write_text("# 모델\n", encoding="utf-8")
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["sentence_pair"]["training_data"] = "KLUE-NLI"
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    archive = build_archive(copy, "1.0", tmp_path / "store" / "nli-1.0.mar")
    with zipfile.ZipFile(archive) as content:
        content.extractall(tmp_path / "unpacked")
    unpacked = Checkpoint.read(tmp_path / "unpacked")
    assert (unpacked.card(), unpacked.training_data) == ("# 모델\n", "KLUE-NLI")
    assert Checkpoint.read(tiny_checkpoint).card() is None


def test_the_same_input_gives_the_same_bytes(
    tiny_checkpoint: Path, tiny_archive: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_checkpoint, tmp_path / "copy", copy_function=shutil.copyfile)
    again = build_archive(copy, "1.0", tmp_path / "한글, $ 100% 'a'" / "again.mar")
    assert again.read_bytes() == tiny_archive.read_bytes()


def change_a_weight(folder: Path) -> None:
    """Change the weights and leave the file's time as it was, as `cp -p` and `rsync -a` do."""
    file = folder / "model.safetensors"
    before = file.stat()
    weights = load_file(file)
    weights["classifier.bias"] = weights["classifier.bias"] + 1
    save_file(weights, file, metadata={"format": "pt"})
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def graph_of(archive: Path) -> bytes:
    with zipfile.ZipFile(archive) as content:
        return content.read("model.bin")


def test_two_checkpoints_of_one_name_never_share_an_archive(tiny_checkpoint: Path, tmp_path: Path) -> None:
    first = shutil.copytree(tiny_checkpoint, tmp_path / "exp1" / "model")
    second = shutil.copytree(tiny_checkpoint, tmp_path / "exp2" / "model")
    change_a_weight(second)
    store = tmp_path / "store"
    one, other = archive_of(first, store), archive_of(second, store)
    assert one != other
    assert graph_of(one) != graph_of(other)
    built = one.stat().st_mtime_ns
    assert archive_of(first, store) == one
    assert one.stat().st_mtime_ns == built, "what is fresh is not built again"


def test_a_changed_checkpoint_gets_another_archive_whatever_its_times_say(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    before = archive_of(folder, tmp_path)
    change_a_weight(folder)
    after = archive_of(folder, tmp_path)
    assert after != before
    assert graph_of(after) != graph_of(before)


def test_a_fingerprint_covers_the_handler_and_the_settings(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PROJECT / "handler", tmp_path / "handler")
    monkeypatch.setattr(archives, "PROJECT", tmp_path)
    found = [fingerprint(tiny_checkpoint)]
    with (tmp_path / "handler" / "recording" / "export.py").open("a", encoding="utf-8") as module:
        module.write("# changed\n")
    found.append(fingerprint(tiny_checkpoint))
    settings = tmp_path / "model-config.yaml"
    settings.write_text("minWorkers: 2\n", encoding="utf-8")
    monkeypatch.setattr(archives, "MODEL_CONFIG", settings)
    found.append(fingerprint(tiny_checkpoint))
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("limit", "stated", "expected"),
    [(10_000_000, "", 32), (0, "", 100), (10_000_000, "batchSize: 7\n", 7)],
    ids=["a small model", "a large model", "stated"],
)
def test_the_batch_size_suits_the_model_unless_it_is_stated(
    limit: int,
    stated: str,
    expected: int,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint, "SMALL", limit)
    settings = tmp_path / "settings.yaml"
    settings.write_text("minWorkers: 1\n" + stated, encoding="utf-8")
    archive = build_archive(tiny_checkpoint, "1.0", tmp_path / "nli.mar", model_config=settings)
    with zipfile.ZipFile(archive) as content:
        packed = yaml.safe_load(
            content.read(json.loads(content.read("MAR-INF/MANIFEST.json"))["model"]["configFile"])
        )
    assert packed == {"minWorkers": 1, "batchSize": expected}


def test_the_archive_of_another_version_differs(
    tiny_checkpoint: Path, tiny_archive: Path, tmp_path: Path
) -> None:
    other = build_archive(tiny_checkpoint, "1.1", tmp_path / "other.mar")
    assert other.read_bytes() != tiny_archive.read_bytes()


def test_an_archive_is_not_overwritten_unasked(tiny_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "nli.mar"
    output.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="--force"):
        build_archive(tiny_checkpoint, "1.0", output)
    assert output.read_text(encoding="utf-8") == "mine"


def drop_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def cut_weights_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


def grow_vocabulary(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary["가나다라마바사"] = len(vocabulary)
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


def make_weights_infinite(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] = torch.full_like(weights["classifier.bias"], torch.inf)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def drop_a_label(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["id2label"]["2"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_tokenizer, r"tokenizer\.json"),
        (cut_weights_short, "can't be loaded"),
        (grow_vocabulary, "tokens, the model"),
        (make_weights_infinite, "not finite"),
        (drop_a_label, "can't be loaded"),
    ],
)
def test_an_unfit_checkpoint_never_becomes_an_archive(
    tiny_checkpoint: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    copy = shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    check_checkpoint(copy)
    damage(copy)
    with pytest.raises(ConfigurationError, match=message) as caught:
        build_archive(copy, "1.0", tmp_path / "store" / "nli.mar")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "one"}, "version must be numbers"),
        ({"version": "1/2"}, "version must be numbers"),
        ({"model_name": "../nli"}, "model name must be"),
    ],
)
def test_names_that_make_no_url_are_refused(
    tiny_checkpoint: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    arguments: dict[str, Any] = {"version": "1.0", "model_name": "nli"} | changes
    with pytest.raises(ConfigurationError, match=message):
        build_archive(tiny_checkpoint, output=tmp_path / "x.mar", **arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_size: 8", "unknown key batch_size"),
        ("batchSize: 0", "batchSize must be a whole number from 1"),
        ("maxBatchDelay: 0", "maxBatchDelay must be"),  # TorchServe would silently make it 100
        ("handler: {max_pairs: 0}", "max_pairs"),
        ("- 1", "holds no settings"),
        ("a: [", "can't be read"),
    ],
)
def test_bad_settings_are_refused_before_they_are_packed(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "model-config.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        check_model_config(file)


def test_the_command_says_what_it_wrote(tiny_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "nli-2.0.mar"
    done = call(main, "--checkpoint", tiny_checkpoint, "--version", "2.0", "--output", output)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(output) in done.stdout
