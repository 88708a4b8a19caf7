"""Sentence pairs → encoded pairs: Unicode composition, word pieces, truncation as in training."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from handler.composition import compose
from handler.errors import ConfigurationError
from handler.request import SentencePair
from handler.sentences import Span

WORD = re.compile(r"\S+")
"""A word, as written between spaces."""


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """Token ids of one pair, special tokens included, without padding."""

    input_ids: tuple[int, ...]
    token_type_ids: tuple[int, ...]
    truncated: bool
    """Whether tokens were cut because the pair is longer than the model reads."""


def kept_tokens(premise: int, hypothesis: int, budget: int) -> tuple[int, int]:
    """Number of tokens of each text that remain when a pair is cut to `budget` tokens.

    The rule of transformers 4's Python tokenizer, with which ratsnlp trained its models: take one token at
    a time from the longer text and, at a tie, from the hypothesis. Here in closed form, so that the
    length of a text costs nothing.

    >>> kept_tokens(100, 100, 61)
    (31, 30)
    >>> kept_tokens(100, 7, 61)
    (54, 7)
    """
    if premise + hypothesis <= budget:
        return premise, hypothesis
    half = budget // 2
    if hypothesis <= half:
        return budget - hypothesis, hypothesis
    if premise <= budget - half:
        return premise, budget - premise
    return budget - half, half


class PairEncoder:
    """Encodes pairs as the model was trained to read them, e.g. ``[CLS] premise [SEP] hypothesis [SEP]``."""

    def __init__(self, tokenizer: Tokenizer, max_seq_length: int) -> None:
        """Take over `tokenizer`; `max_seq_length` counts special tokens too.

        Raises:
            ConfigurationError: `max_seq_length` has no room for a token of each text.
        """
        tokenizer.no_padding()
        tokenizer.no_truncation()
        # `[SEP]` that a user typed is text, never the control token.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._template = pair_template(tokenizer)
        self.budget = max_seq_length - sum(slot.source is None for slot in self._template)
        """Number of tokens that both texts together may have."""
        if self.budget < 2:
            raise ConfigurationError(f"max_seq_length {max_seq_length} leaves no room for two texts")

    @classmethod
    def from_folder(cls, folder: Path, max_seq_length: int) -> PairEncoder:
        """Load `tokenizer.json`.

        Raises:
            ConfigurationError: it is missing or unreadable.
        """
        path = folder / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise ConfigurationError(f"{path} can't be loaded: {error}") from None
        return cls(tokenizer, max_seq_length)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, added tokens included."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, pairs: Sequence[SentencePair]) -> list[EncodedPair]:
        """Encode each pair; texts that pairs share are read once. Never raises for what a user wrote."""
        texts = list(dict.fromkeys(text for pair in pairs for text in (pair.premise, pair.hypothesis)))
        beginnings = [self._beginning(text) for text in texts]
        ids = self._token_ids(beginnings)
        # A beginning with more tokens than fit suffices; the other texts are read whole.
        short = [
            index
            for index, beginning in enumerate(beginnings)
            if len(beginning) < len(texts[index]) and len(ids[index]) <= self.budget
        ]
        for index, whole in zip(short, self._token_ids([texts[index] for index in short]), strict=True):
            ids[index] = whole
        found = dict(zip(texts, ids, strict=True))
        return [self.join(found[pair.premise], found[pair.hypothesis]) for pair in pairs]

    def _beginning(self, text: str) -> str:
        """The part of a text that usually suffices: up to a space after 32 characters for each token."""
        end = text.find(" ", 32 * self.budget)
        return text if end < 0 else text[:end]

    def _token_ids(self, texts: list[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(
            [compose(text) for text in texts], add_special_tokens=False
        )
        return [encoding.ids for encoding in encodings]

    def words(self, pair: SentencePair) -> list[list[tuple[Span, list[int]]]]:
        """The first words of premise and hypothesis, each with those of its tokens that the model reads.

        A token belongs to the word in which it ends. A word of characters that the tokenizer drops has none,
        as zero-width ones. Where a text is cut, the words behind its last token are left out.
        """
        texts = [self._words(self._beginning(text)) for text in (pair.premise, pair.hypothesis)]
        for place, text in enumerate((pair.premise, pair.hypothesis)):
            if sum(len(ids) for _, ids in texts[place]) <= self.budget:  # as in `encode`
                texts[place] = self._words(text)
        premise, hypothesis = (sum(len(ids) for _, ids in words) for words in texts)
        kept = kept_tokens(premise, hypothesis, self.budget)
        for words, count, budget in zip(texts, (premise, hypothesis), kept, strict=True):
            cut = budget < count
            for _, ids in words:
                del ids[budget:]
                budget -= len(ids)
            while cut and not words[-1][1]:
                words.pop()
        return texts

    def _words(self, text: str) -> list[tuple[Span, list[int]]]:
        # Composition moves the places of characters, but leaves spaces between the same words.
        composed = compose(text)
        ends = [found.end() for found in WORD.finditer(composed)]
        ids: list[list[int]] = [[] for _ in ends]
        encoding = self._tokenizer.encode(composed, add_special_tokens=False)
        for token, (_, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if ends:
                ids[min(bisect_left(ends, end), len(ends) - 1)].append(token)
        words = (Span(found[0], *found.span()) for found in WORD.finditer(text))
        return list(zip(words, ids, strict=True))

    def join(self, premise: list[int], hypothesis: list[int]) -> EncodedPair:
        """Lay out the token ids of two texts as a pair, cut to what fits."""
        # The tokenizer's own truncation keeps what it cuts off as further encodings and pairs them all,
        # which takes a second for two texts of 10,000 characters.
        lengths = len(premise), len(hypothesis)
        kept = kept_tokens(*lengths, self.budget)
        texts = premise[: kept[0]], hypothesis[: kept[1]]
        input_ids: list[int] = []
        token_type_ids: list[int] = []
        for slot in self._template:
            ids = [slot.token_id] if slot.source is None else texts[slot.source]
            input_ids += ids
            token_type_ids += [slot.token_type_id] * len(ids)
        return EncodedPair(tuple(input_ids), tuple(token_type_ids), kept != lengths)


@dataclass(frozen=True, slots=True)
class Slot:
    """One place in the template of an encoded pair: a special token, or a whole text."""

    source: int | None
    """0 the premise, 1 the hypothesis, None a special token."""
    token_id: int
    token_type_id: int


def pair_template(tokenizer: Tokenizer) -> tuple[Slot, ...]:
    """Learn from the tokenizer how it lays out a pair, by showing it two short texts."""
    shown = tokenizer.encode("a", "a")
    slots: list[Slot] = []
    for source, token_id, token_type_id in zip(shown.sequence_ids, shown.ids, shown.type_ids, strict=True):
        if source is None or all(slot.source != source for slot in slots):
            slots.append(Slot(source, token_id, token_type_id))
    return tuple(slots)
