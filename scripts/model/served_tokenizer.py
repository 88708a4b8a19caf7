"""A tokenizer in the form that is served, and the check that it reads text as the model was trained to."""

from __future__ import annotations

import json
import re
from typing import Any

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase

from handler.encoding import PairEncoder, pair_template
from handler.errors import ConfigurationError, one_line
from handler.request import SentencePair
from scripts.model.tokenizer import SYLLABLES

JAMO = re.compile("[\u1100-\u11ff]")
SAMPLE = 200
"""Words of a vocabulary that are read to see what becomes of Hangul."""

PROBES = (
    SentencePair("한 남자가 기타를 친다.", "A man plays the guitar, 2 times!"),
    SentencePair("가", "나 다"),
)
"""Pairs that must be encoded as transformers encodes them."""


def serve_tokenizer(loaded: PreTrainedTokenizerBase, rows: int, origin: str) -> tuple[Tokenizer, list[str]]:
    """The form of a tokenizer that is served, and what `check_tokenizer` says of it.

    Raises:
        ConfigurationError: it can't be the one that the model was trained with.
    """
    try:
        served = served_tokenizer(loaded)
        return served, check_tokenizer(loaded, served, rows, origin)
    except ConfigurationError:
        raise
    except Exception as error:  # tokenizers raises bare Exception
        raise ConfigurationError(f"the tokenizer of {origin} can't be used: {one_line(error)}") from None


def served_tokenizer(loaded: PreTrainedTokenizerBase) -> Tokenizer:
    """The same tokenizer with one rule for what a user types.

    Control tokens (`[SEP]`, `[MASK]` and the like) are text; all other added tokens, which the model learnt,
    are tokens.

    Pairs are laid out as `loaded` lays them out, with type 0 throughout where its `model_input_names` lack
    `token_type_ids`.
    """
    backend: Tokenizer = loaded.backend_tokenizer
    content: dict[str, Any] = json.loads(backend.to_str())
    controls = control_tokens(loaded)
    for token in content["added_tokens"]:
        token["special"] = token["content"] in controls
    content["truncation"] = content["padding"] = None
    if content["model"].get("type") == "Unigram":
        # A unigram model takes control tokens for words, unless they are cut behind their first character.
        parts = "|".join(
            f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in sorted(controls) if name[1:]
        )
        part = {"type": "Split", "pattern": {"Regex": parts}, "behavior": "Isolated", "invert": False}
        before = content["pre_tokenizer"]
        content["pre_tokenizer"] = {
            "type": "Sequence",
            "pretokenizers": [*(before.get("pretokenizers", [before]) if before else []), part],
        }
    served = Tokenizer.from_str(json.dumps(content))
    served.post_processor = _template(backend, "token_type_ids" in loaded.model_input_names)
    return served


def control_tokens(loaded: PreTrainedTokenizerBase) -> dict[str, int]:
    """The tokens that lay out a text rather than say something, with their ids."""
    roles = ("cls", "sep", "pad", "mask", "unk", "bos", "eos")
    names = [getattr(loaded, f"{role}_token", None) for role in roles]
    vocabulary = loaded.get_vocab()
    return {
        str(name): vocabulary[str(name)] for name in names if name is not None and str(name) in vocabulary
    }


def _template(backend: Tokenizer, typed: bool) -> TemplateProcessing:
    """A post-processor that lays out a pair as `backend` does."""
    backend.no_truncation()
    special: dict[str, int] = {}
    pieces: list[str] = []
    for slot in pair_template(backend):
        name = "$" + "AB"[slot.source] if slot.source is not None else str(backend.id_to_token(slot.token_id))
        pieces.append(f"{name}:{slot.token_type_id if typed else 0}")
        if slot.source is None:
            special[name] = slot.token_id
    return TemplateProcessing(single="$A", pair=pieces, special_tokens=list(special.items()))


def check_tokenizer(loaded: PreTrainedTokenizerBase, served: Tokenizer, rows: int, origin: str) -> list[str]:
    """Say what a tokenizer does to Hangul, control tokens and added tokens, in lines for people.

    Args:
        loaded: as transformers has it.
        served: the form of it that is served.
        rows: of the model's table of tokens.
        origin: where it comes from, for messages.

    Raises:
        ConfigurationError: it can't be the one that the model was trained with.
    """
    vocabulary = served.get_vocab(with_added_tokens=True)
    highest = max(vocabulary.values(), default=-1)
    if highest >= rows:
        raise ConfigurationError(
            f"the tokenizer of {origin} has {highest + 1} tokens, the model {rows}: name the "
            "tokenizer of the training with --pretrained"
        )
    controls = control_tokens(loaded)
    if len(vocabulary) <= len(controls):
        raise ConfigurationError(f"the tokenizer of {origin} has an empty vocabulary")
    template = pair_template(served)
    sources = [slot.source for slot in template]
    if sources.count(0) != 1 or sources.count(1) != 1 or abs(sources.index(0) - sources.index(1)) < 2:
        raise ConfigurationError(
            f"the tokenizer of {origin} puts no separator between two texts: it wasn't made for pairs"
        )
    hangul = _hangul(served, vocabulary, controls, origin)
    served.encode_special_tokens = True
    added = [token for token in served.get_added_tokens_decoder().values() if token.content not in controls]
    for token in added:
        ids = served.encode(f"가 {token.content} 나", add_special_tokens=False).ids
        if ids.count(vocabulary[token.content]) != 1:
            raise ConfigurationError(
                f"the tokenizer of {origin} doesn't read its own added token {token.content!r}"
            )
    for name, token_id in controls.items():
        typed = served.encode(f"가 {name} 나{name}다", add_special_tokens=False).ids
        if token_id in typed and name != str(loaded.unk_token):
            raise ConfigurationError(
                f"the tokenizer of {origin} takes {name!r} that a user types for a control token"
            )
    _compare(loaded, served, origin)
    known = ", ".join(token.content for token in added[:8])
    return [
        f"tokenizer: {origin}, {len(vocabulary)} tokens, Hangul {hangul}, capitals "
        + ("kept" if "A" in _normalized(served, "A") else "lower-cased"),
        f"typed by a user, {' '.join(controls)} are text; added tokens are tokens: {known or 'none'}",
    ]


def _hangul(served: Tokenizer, vocabulary: dict[str, int], controls: dict[str, int], origin: str) -> str:
    """What becomes of Hangul, in a few words."""
    added = {token.content for token in served.get_added_tokens_decoder().values()}
    words = sorted(name for name in vocabulary if SYLLABLES.search(name) and name not in added)
    unknown = {token_id for name, token_id in controls.items() if "unk" in name.lower()}

    def read(text: str) -> bool:
        return not unknown & set(served.encode(text, add_special_tokens=False).ids)

    if not words:
        if any(JAMO.search(name) for name in vocabulary) and JAMO.search(_normalized(served, "한")):
            return "in jamo"
        if not read("한국어"):
            raise ConfigurationError(
                f"the vocabulary of {origin} has no Hangul: every Korean word would be unknown"
            )
        return "in bytes"
    sample = [word for word in words if not word.startswith("##")][:: max(1, len(words) // SAMPLE)] or words[
        :1
    ]
    kept = [word for word in sample if SYLLABLES.search(_normalized(served, word))]
    if len(kept) < len(sample) / 2:
        raise ConfigurationError(
            f"the tokenizer of {origin} takes Hangul apart, but its vocabulary has whole syllables: set "
            '"strip_accents": false in tokenizer_config.json (for ALBERT "keep_accents": true)'
        )
    return "kept whole"


def _normalized(served: Tokenizer, text: str) -> str:
    return str(served.normalizer.normalize_str(text)) if served.normalizer else text


def _compare(loaded: PreTrainedTokenizerBase, served: Tokenizer, origin: str) -> None:
    """Hold the served form against transformers' own on pairs that hold no control token."""
    for pair, encoded in zip(PROBES, PairEncoder(served, 512).encode(PROBES), strict=True):
        try:
            expected = loaded(pair.premise, pair.hypothesis)
        except Exception as error:  # each tokenizer fails in its own way
            raise ConfigurationError(
                f"the tokenizer of {origin} can't encode a pair: {one_line(error)}"
            ) from None
        types = expected.get("token_type_ids", [0] * len(encoded.token_type_ids))
        if (list(encoded.input_ids), list(encoded.token_type_ids)) != (expected["input_ids"], types):
            raise ConfigurationError(f"the tokenizer of {origin} can't be served as transformers uses it")
