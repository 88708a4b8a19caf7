"""The tokenizer that a model was trained with, found in its files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, BertTokenizer, PretrainedConfig, PreTrainedTokenizerBase
from transformers.utils.logging import set_verbosity_error

from handler.errors import ConfigurationError, one_line
from scripts.model.pretrained import read_json
from scripts.model.sentencepiece_bert import sentencepiece_file, sentencepiece_tokenizer

SYLLABLES = re.compile("[가-힣]")
UPPER_CASE = re.compile("[A-Z]")
CASING = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
"""What `BertTokenizer` is told of case and accents; by default it lower-cases, which takes Hangul apart."""

TYPED_BEFORE_5 = ("TokenizersBackend", "PreTrainedTokenizerFast", "AlbertTokenizer", "RemBertTokenizer")
"""Classes that until transformers 5 told premise and hypothesis apart by type, unless told otherwise."""


def tokenizer_folder(beside: Path, pretrained: Path) -> Path:
    """Where the tokenizer is read: beside the weights if its settings are there too, else in `pretrained`."""
    files = {file.name for file in beside.iterdir()}
    complete = "tokenizer.json" in files or ("tokenizer_config.json" in files and _vocabularies(beside))
    return beside if complete else pretrained


def load_tokenizer(folder: Path, config: PretrainedConfig) -> PreTrainedTokenizerBase:
    """Load a tokenizer as transformers does, but for what transformers guesses wrongly of a folder's files.

    A BERT with a SentencePiece vocabulary, as KoBERT, gets BERT's layout of a pair. A `vocab.txt` is
    WordPiece whatever the architecture. Where nothing states how case and accents are treated, the
    vocabulary does: see `_casing`.

    Raises:
        ConfigurationError: there is none, or it can't be loaded.
    """
    stated = folder / "tokenizer_config.json"
    settings = read_json(stated) if stated.is_file() else {}
    vocabularies = _vocabularies(folder)
    if not vocabularies:
        raise ConfigurationError(
            f"{folder} has no vocabulary (tokenizer.json, vocab.txt or a SentencePiece model): name what "
            "was fine-tuned with --pretrained"
        )
    pieces = sentencepiece_file(folder)
    loader: Any = AutoTokenizer
    options: dict[str, Any] = {"config": config, "trust_remote_code": False}
    has_json = "tokenizer.json" in vocabularies
    set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        if pieces and not has_json and config.model_type in {"bert", "distilbert"}:
            return sentencepiece_tokenizer(pieces, settings)
        if config.model_type == "albert" and "keep_accents" not in settings:
            # By default accents are stripped, which takes Hangul apart; SentencePiece joins it again.
            options["keep_accents"] = True
        if (folder / "vocab.txt").is_file():
            named = settings.get("tokenizer_class") or getattr(config, "tokenizer_class", None)
            if not has_json and named is None:
                loader, options = BertTokenizer, {}
            if not any(key in settings for key in CASING[:2]):
                options |= _casing(folder, has_json)
        loaded: PreTrainedTokenizerBase = loader.from_pretrained(
            str(folder), local_files_only=True, **options
        )
    except ConfigurationError:
        raise
    except Exception as error:  # each tokenizer reads its files in its own way
        raise ConfigurationError(f"the tokenizer in {folder} can't be loaded: {one_line(error)}") from None
    if not loaded.is_fast:
        raise ConfigurationError(
            f"the tokenizer in {folder} ({type(loaded).__name__}) runs in Python alone, which serving can't"
        )
    if type(loaded).__name__ in TYPED_BEFORE_5 and "model_input_names" not in settings:
        version = str(getattr(config, "transformers_version", None) or "4")
        if int(re.match(r"\d*", version)[0] or 4) < 5:  # type: ignore[index]
            loaded.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return loaded


def _vocabularies(folder: Path) -> list[str]:
    names = ("tokenizer.json", "vocab.txt", "vocab.json", "spm.model", "tokenizer.model")
    found = [name for name in names if (folder / name).is_file()]
    pieces = sentencepiece_file(folder)
    return [*found, pieces.name] if pieces else found


def _casing(folder: Path, has_json: bool) -> dict[str, Any]:
    """How case and accents are treated, by `tokenizer.json` or the vocabulary.

    A vocabulary with capital letters is for text as it is. One without them is for lower-cased text, whose
    accents are stripped, which takes Hangul apart, only if it has no whole syllables.
    """
    if has_json:
        state = read_json(folder / "tokenizer.json").get("normalizer")
        states = state.get("normalizers", [state]) if isinstance(state, dict) else []
        for each in states:
            if isinstance(each, dict) and each.get("type") == "BertNormalizer":
                stated = (each.get("lowercase"), each.get("strip_accents"), each.get("handle_chinese_chars"))
                return dict(zip(CASING, stated, strict=True))
        return {}
    try:
        words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{folder / 'vocab.txt'} can't be read: {one_line(error)}") from None
    plain = [word for word in words if not re.fullmatch(r"\[.*\]|<.*>", word)]
    if any(UPPER_CASE.search(word) for word in plain):
        return {"do_lower_case": False}
    if any(SYLLABLES.search(word) for word in plain):
        return {"do_lower_case": True, "strip_accents": False}
    return {"do_lower_case": True}
