"""A long text → its sentences, and which of them decides whether the text supports a claim.

The rules are for Korean and need neither a dictionary nor a model.
A sentence ends

- with a line;
- behind ``.``, ``!``, ``?`` or ``。`` (with marks, brackets and ㅋㅋ that follow), before a space;
- behind ``다.``, ``요.``, ``죠.`` or ``까.`` also without the space, as in ``비가 왔다.그러나 …``;
- behind an ellipsis only where an ending precedes it, as in ``그랬다…``.

It does not end inside quotation marks or brackets, behind a quotation that goes on with a particle
(``"…" 라고``), behind a number (``1. 머리말``, ``2026. 3. 1. 열린``), an initial (``J. Kim``) or an
abbreviation (``Dr.``). Endings without punctuation are not found: a text without any is one sentence a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from handler.composition import compose

ENDINGS = "다요죠까"
"""Last syllables of most sentences."""

RANKS = {"entailment": 2, "contradiction": 1}
"""Labels that decide; a model must have them."""

ELLIPSES = ("..", "...", "....", "…", "……")

_QUOTED = re.compile(
    r"""
    "[^"\n]{0,300}" | “[^“”\n]{0,300}” | ‘[^‘’\n]{0,300}’ | 「[^「」\n]{0,300}」 | 『[^『』\n]{0,300}』
    | \([^()\n]{0,300}\) | \[[^\[\]\n]{0,300}\]
    """,
    re.VERBOSE,
)
"""A quotation or a remark in brackets; an opening mark whose closing one is far away opens none."""

_LINES, _MARKS, _CLOSING, _TAIL = (
    r"\r\n\v\f\x85\u2028\u2029",
    ".!?…。！？",
    r"”’\"')\]」』》〉】",
    "ㄱ-ㅎㅏ-ㅣ~^",
)
"""The characters of which ends are made."""

_END = re.compile(
    rf"""
    [{_LINES}]+
    | (?<![{_MARKS}]) (?P<marks> [{_MARKS}]++ ) (?P<closing> [{_CLOSING}]*+ ) [{_TAIL}]*+
      (?: (?=\s) | $ | (?<=[{ENDINGS}]\.) (?=[가-힣]) )
    """,
    re.VERBOSE,
)

_UP_TO_END = re.compile(rf"[^{_LINES}{_MARKS}{_CLOSING}{_TAIL}\u232a]*.?", re.DOTALL)
"""A text up to a character that may be the last of an end. Composition joins none of these characters
with others; it makes 〉 of U+232A."""

_GOES_ON = re.compile(
    r"\s*(?:(?:이라|라|하|이)?(?:고|며|면서)|(?:이라|라)(?:는|던|기에)|는|란|이란)(?![가-힣])(?!\s*$)"
)
"""A particle by which a sentence goes on behind its quotation."""

_NO_END = re.compile(r"(?:^|[\s(\[.])(?:\d{1,4}|[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|vs|No|cf|Fig)\.$")
"""What a period follows that ends no sentence."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text, such as a word or a sentence, and its place, counted in characters (code points)."""

    text: str
    start: int
    end: int
    """Place behind its last character."""


@dataclass(frozen=True, slots=True)
class DecidingSentence:
    """The sentence of a premise that decides an answer."""

    index: int
    """Place among the sentences, from 0."""
    sentence: Span
    truncated: bool
    """Whether the model doesn't read the whole of it."""

    def describe(self) -> dict[str, Any]:
        """Its fields in an answer."""
        of_text = {"start": self.sentence.start, "end": self.sentence.end, "text": self.sentence.text}
        return {"index": self.index, **of_text, "truncated": self.truncated}


def split_sentences(text: str) -> list[Span]:
    """The sentences of a text, without the spaces between them; parts without letters or digits are left out.

    Ends are those of the composed text, so that decomposed Hangul has the same.

    >>> [each.text for each in split_sentences('비가 온다. 그는 "집에 가자. 어서!"라고 했다.')]
    ['비가 온다.', '그는 "집에 가자. 어서!"라고 했다.']
    """
    sentences = []
    start = 0
    for end in (*_ends_as_sent(text), len(text)):
        part = text[start:end]
        if any(map(str.isalnum, part)):
            begin = start + len(part) - len(part.lstrip())
            sentences.append(Span(part.strip(), begin, begin + len(part.strip())))
        start = end
    return sentences


def _ends_as_sent(text: str) -> Iterable[int]:
    """The places in a text behind which the next sentence begins."""
    composed = compose(text)
    if composed == text:
        return _ends(text)
    places, place = {}, 0
    for part in _UP_TO_END.finditer(text):
        place += len(compose(part[0]))
        places[place] = part.end()
    return [places[end] for end in _ends(composed)]


def _ends(text: str) -> Iterator[int]:
    """The places in a composed text behind which the next sentence begins."""
    quotations = _QUOTED.finditer(text)
    quotation = next(quotations, None)
    for found in _END.finditer(text):
        while quotation and quotation.end() <= found.start():
            quotation = next(quotations, None)
        # A closing mark belongs to `found` itself; before that, the end is inside.
        if quotation and quotation.start() < found.start() and found.end() < quotation.end():
            continue
        if found["closing"] and _GOES_ON.match(text, found.end()):
            continue
        marks = found["marks"]
        if marks == "." and _NO_END.search(text, max(0, found.start() - 8), found.start() + 1):
            continue
        if marks in ELLIPSES and text[max(0, found.start() - 1)] not in ENDINGS:
            continue
        yield found.end()


def deciding(labels: Sequence[str], probabilities: Sequence[Iterable[float]]) -> int:
    """The index of the sentence that decides, by the probabilities of each sentence as a premise.

    Where sentences entail the hypothesis, it is the one that does so with the highest probability: a text
    says what one of its sentences says (Laban et al. 2022, "SummaC", take the highest entailment too). Else
    it is the one that contradicts it with the highest probability. Where all are neutral, it is the one that
    is least certainly so, since the whole is neutral only if that one is. The first of equals decides.

    >>> labels = ("entailment", "contradiction", "neutral")
    >>> deciding(labels, [[0.1, 0.8, 0.1], [0.6, 0.1, 0.3], [0.1, 0.1, 0.8]])
    1
    """

    def weight(index: int) -> tuple[int, float]:
        highest, label = max(zip(probabilities[index], labels, strict=True), key=itemgetter(0))
        rank = RANKS.get(label, 0)
        return rank, highest if rank else -highest

    return max(range(len(probabilities)), key=weight)
