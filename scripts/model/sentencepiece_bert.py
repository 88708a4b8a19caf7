"""SentencePiece vocabularies of a BERT, such as KoBERT's, which transformers has no class for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from handler.errors import ConfigurationError, one_line

UNIGRAM = 1
"""SentencePiece's number for the kind of model that is read here."""

LESS_LIKELY = 100.0
"""By how much a piece that joins a digit and a comma is made less likely, as KoBERT's tokenizer splits it."""


def sentencepiece_file(folder: Path) -> Path | None:
    """The SentencePiece model of a folder, by whatever name; None without one."""
    found = sorted(folder.glob("*.model"))
    return found[0] if found else None


def sentencepiece_tokenizer(file: Path, settings: Mapping[str, Any]) -> PreTrainedTokenizerFast:
    """Lay out ``[CLS] premise [SEP] hypothesis [SEP]`` over a SentencePiece vocabulary.

    Ids are the lines of `vocab.txt` beside it where there is one (monologg's KoBERT), else the model's own
    (SKT's).

    Raises:
        ConfigurationError: the file isn't a unigram model, or lacks BERT's control tokens.
    """
    from sentencepiece import sentencepiece_model_pb2

    model: Any = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        model.ParseFromString(file.read_bytes())
    except Exception as error:  # protobuf raises its own kinds
        raise ConfigurationError(f"{file} is no SentencePiece model: {one_line(error)}") from None
    if model.trainer_spec.model_type != UNIGRAM:
        raise ConfigurationError(f"{file} is no unigram model, as a BERT's SentencePiece vocabulary is")
    scores = {
        piece.piece: piece.score - LESS_LIKELY * bool(re.search(r"\d,$", piece.piece))
        for piece in model.pieces
    }
    listed = file.with_name("vocab.txt")
    order = list(scores)
    if listed.is_file():
        order = listed.read_text(encoding="utf-8").rstrip("\n").split("\n")
    controls = {}
    for role in ("unk", "cls", "sep", "pad", "mask"):
        stated = settings.get(f"{role}_token")
        name = stated["content"] if isinstance(stated, dict) else stated or f"[{role.upper()}]"
        controls[f"{role}_token"] = name if name in order else f"<{role}>"
    absent = [name for role, name in controls.items() if name not in order and role != "mask_token"]
    if absent:
        raise ConfigurationError(f"{file} has no token {' and no '.join(absent)}: it is no BERT's vocabulary")
    unknown = order.index(controls["unk_token"])
    tokenizer = Tokenizer(
        models.Unigram([(piece, scores.get(piece, 0.0)) for piece in order], unk_id=unknown)
    )
    steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not settings.get("keep_accents"):
        steps += [normalizers.NFD(), normalizers.StripAccents(), normalizers.NFC()]
    if settings.get("do_lower_case"):
        steps.append(normalizers.Lowercase())
    if model.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    cls, sep = controls["cls_token"], controls["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(cls, order.index(cls)), (sep, order.index(sep))],
    )
    tokenizer.add_special_tokens(
        [AddedToken(name, normalized=False) for name in controls.values() if name in order]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{role: name for role, name in controls.items() if name in order},
    )
