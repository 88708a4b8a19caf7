"""A request that is ready for the model, and the answers that the results of its pairs make.

For one pair of a request the model may read several: one for each sentence of the premise, or, where it is to
be explained, the pair itself and its variants.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from handler.answer import Answer, make_answer
from handler.encoding import EncodedPair, PairEncoder
from handler.engine import Probabilities, Result
from handler.errors import InferenceFailed, LimitExceeded
from handler.explanation import Occlusion
from handler.request import Request, SentencePair
from handler.sentences import DecidingSentence, deciding


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """A request whose pairs are ready for the model."""

    request: Request
    pairs: list[EncodedPair]
    alone: ClassVar[bool] = False
    """Whether no pair may share a batch with those of other requests."""

    @property
    def whole(self) -> list[EncodedPair]:
        """The pairs of the request, in order."""
        return self.pairs

    @property
    def parts(self) -> list[list[EncodedPair]]:
        """The pairs, cut into those that may share a batch."""
        return [self.pairs]

    @property
    def tokens(self) -> int:
        """Number of tokens that the model reads of it."""
        return sum(len(pair.input_ids) for pair in self.pairs)

    def answers(self, labels: Sequence[str], results: Iterable[Result]) -> list[Answer]:
        """The answer for each pair of the request, by the results of `pairs`.

        Raises:
            InferenceFailed: a result is one, with the path of its pair.
        """
        sentences, answers = self.request.sentences, []
        encoded, found = iter(self.pairs), iter(results)
        for pair in self.request.pairs:
            cut = [each.truncated for each in islice(encoded, len(sentences) or 1)]
            own = _probabilities(pair, islice(found, len(cut)))
            index = deciding(labels, own) if sentences else 0
            sentence = DecidingSentence(index, sentences[index], cut[index]) if sentences else None
            answers.append(make_answer(pair, labels, own[index], any(cut), sentence=sentence))
        return answers


@dataclass(frozen=True, slots=True)
class ExplainedRequest(EncodedRequest):
    """A request whose pairs are to be explained: `pairs` are all pairs with all their variants."""

    occlusions: tuple[Occlusion, ...]
    alone = True
    """In int8 the rest of a batch shows in an answer's digits, and so in weights."""

    @classmethod
    def of(cls, request: Request, encoder: PairEncoder, max_pairs: int) -> ExplainedRequest:
        """Leave out words of each pair of a request.

        Raises:
            LimitExceeded: it has more than `max_pairs` pairs.
        """
        count = len(request.pairs)
        if count > max_pairs:
            raise LimitExceeded(
                f"{count} pairs in one request to be explained; at most {max_pairs} are allowed"
            )
        whole = encoder.encode(request.pairs)
        occlusions = [Occlusion.of(*both, encoder) for both in zip(request.pairs, whole, strict=True)]
        return cls(request, [pair for each in occlusions for pair in each.pairs], tuple(occlusions))

    @property
    def whole(self) -> list[EncodedPair]:
        """The pairs of the request, without their variants."""
        return [each.pairs[0] for each in self.occlusions]

    @property
    def parts(self) -> list[list[EncodedPair]]:
        """Each pair with its variants by itself, so that weights depend on nothing but the pair."""
        return [list(each.pairs) for each in self.occlusions]

    def answers(self, labels: Sequence[str], results: Iterable[Result]) -> list[Answer]:
        """As of any request, each with the weights of the pair's words."""
        answers, found = [], iter(results)
        for pair, occlusion in zip(self.request.pairs, self.occlusions, strict=True):
            own = _probabilities(pair, islice(found, len(occlusion.pairs)))
            explanation = occlusion.explain(own)
            answers.append(make_answer(pair, labels, own[0], occlusion.pairs[0].truncated, explanation))
        return answers


def _probabilities(pair: SentencePair, results: Iterable[Result]) -> list[Probabilities]:
    """The results of what the model read for one pair, none of which may be an error."""
    found = []
    for result in results:
        if isinstance(result, InferenceFailed):
            raise result.at(pair.where)
        found.append(result)
    return found
