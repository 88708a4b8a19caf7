"""Which words of a pair speak for its predicted label: what leaving them out does to its probability.

The method is occlusion (Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks"), for
words also called erasure (Li, Monroe and Jurafsky 2016, "Understanding neural networks through representation
erasure"). It needs answers alone, so it is the same for every model, precision and runtime.

A pair of few words is answered once more without each of them. A longer one is cut into phrases, none across
both texts, and each phrase into parts; it is answered without each phrase, and without the first, the second
and the third part of all phrases. The weights are the smallest that add up to what these answers lost, as
nearly as weights can (least squares, as Ribeiro et al. 2016 fit them in "Why should I trust you?"). So the
number of answers doesn't grow with the length, and adjacent words of a long text share a weight.

>>> left_out(2, 1)
[[0], [1], [2]]
>>> left_out(10, 5)[:2], left_out(10, 5)[-1]
([[0, 1, 2], [3, 4, 5]], [2, 5, 8, 9, 14])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from handler.encoding import EncodedPair, PairEncoder
from handler.request import SentencePair
from handler.sentences import Span

ALONE = 10
"""Largest number of words of which each is left out alone."""

PHRASES = 5
"""Number of phrases of a longer pair."""

PARTS = 3
"""Number of parts of a phrase. More of either tell words apart better, and cost another answer each."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The words of both texts that the model reads, and how much each speaks for the predicted label."""

    premise: tuple[tuple[Span, float], ...]
    """Each word with its weight: the probability that the label loses without it; negative where it gains."""
    hypothesis: tuple[tuple[Span, float], ...]
    unread: tuple[int, int]
    """Number of words at the end of each text that are cut, as the pair is longer than the model reads."""


@dataclass(frozen=True, slots=True)
class Occlusion:
    """One pair with words left out in several ways, to be answered."""

    premise: tuple[Span, ...]
    """The words that the model reads."""
    hypothesis: tuple[Span, ...]
    unread: tuple[int, int]
    left_out: tuple[tuple[int, ...], ...]
    """The words that each variant lacks, counted through both texts."""
    pairs: tuple[EncodedPair, ...]
    """The whole pair, and its variants."""

    @classmethod
    def of(cls, pair: SentencePair, whole: EncodedPair, encoder: PairEncoder) -> Occlusion:
        """Leave out words of a pair, of which `whole` is the encoded form."""
        texts = encoder.words(pair)
        read = [[each for each in words if each[1]] for words in texts]
        missing = [tuple(each) for each in left_out(len(read[0]), len(read[1]))]
        pairs = [whole]
        for gone in missing:
            kept, place = [], 0
            for words in read:
                kept.append([i for n, (_, ids) in enumerate(words, place) if n not in gone for i in ids])
                place += len(words)
            pairs.append(encoder.join(*kept))
        premise, hypothesis = (tuple(word for word, _ in words) for words in read)
        unread = (len(pair.premise.split()) - len(texts[0]), len(pair.hypothesis.split()) - len(texts[1]))
        return cls(premise, hypothesis, unread, tuple(missing), tuple(pairs))

    def explain(self, answers: Sequence[NDArray[np.float64]]) -> Explanation:
        """Weigh the words by the probabilities of `pairs`, in order."""
        label = int(answers[0].argmax())
        lost = np.array([answers[0][label] - answer[label] for answer in answers[1:]])
        count = len(self.premise) + len(self.hypothesis)
        lacks = np.zeros((len(self.left_out), count))
        for row, gone in enumerate(self.left_out):
            lacks[row, list(gone)] = 1
        weights = np.linalg.lstsq(lacks, lost, rcond=None)[0].tolist()
        weighed = list(zip((*self.premise, *self.hypothesis), weights, strict=True))
        cut = len(self.premise)
        return Explanation(tuple(weighed[:cut]), tuple(weighed[cut:]), self.unread)


def left_out(premise: int, hypothesis: int) -> list[list[int]]:
    """Which words each variant of a pair lacks.

    Args:
        premise: number of words in the premise, which come first in the count.
        hypothesis: number of words in the hypothesis.
    """
    count = premise + hypothesis
    if count <= ALONE:
        return [[word] for word in range(count)]
    first = min(max(round(PHRASES * premise / count), 1), PHRASES - 1)
    phrases = [*_cut(range(premise), first), *_cut(range(premise, count), PHRASES - first)]
    parts = [_cut(phrase, PARTS) for phrase in phrases]
    across = [
        [word for phrase in parts if len(phrase) > place for word in phrase[place]] for place in range(PARTS)
    ]
    return [list(phrase) for phrase in phrases] + [words for words in across if words]


def _cut(words: Sequence[int], parts: int) -> list[Sequence[int]]:
    """Cut a sequence into parts of about equal size, none empty."""
    parts = min(parts, len(words))
    ends = [len(words) * number // parts for number in range(parts + 1)] if parts else []
    return [words[start:end] for start, end in pairwise(ends)]
