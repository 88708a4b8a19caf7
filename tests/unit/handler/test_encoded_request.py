"""Which pairs a request has for the model, and which answers their results make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from handler.answer import ModelIdentity, describe_answer
from handler.encoded_request import EncodedRequest, ExplainedRequest
from handler.encoding import EncodedPair, PairEncoder
from handler.engine import Result
from handler.errors import InferenceFailed, LimitExceeded
from handler.request import Request, SentencePair, Shape
from handler.sentences import DecidingSentence, Span

LABELS = ("entailment", "contradiction", "neutral")
PAIRS = (SentencePair("비가 온다.", "날씨가 맑다.", "[0]."), SentencePair("책을 읽는다.", "있다.", "[1]."))
REQUEST = Request(PAIRS, Shape.LIST)


@pytest.fixture(scope="module")
def encoder(tiny_checkpoint: Path) -> PairEncoder:
    return PairEncoder.from_folder(tiny_checkpoint, max_seq_length=64)


def test_an_explained_request_has_every_pair_and_its_variants_in_order(encoder: PairEncoder) -> None:
    found = ExplainedRequest.of(REQUEST, encoder, 2)
    assert found.whole == encoder.encode(PAIRS)
    assert [len(part) for part in found.parts] == [5, 4]
    assert found.pairs == [pair for part in found.parts for pair in part]
    assert found.tokens == sum(len(pair.input_ids) for pair in found.pairs)


def test_more_pairs_than_may_be_explained_are_refused(encoder: PairEncoder) -> None:
    many = Request((*PAIRS, PAIRS[0]), Shape.LIST)
    with pytest.raises(LimitExceeded, match="3 pairs in one request to be explained; at most 2 are allowed"):
        ExplainedRequest.of(many, encoder, 2)


def test_each_pair_is_answered_by_the_sentence_that_decides() -> None:
    sentences = (Span("가다.", 0, 3), Span("나다.", 4, 7))
    pairs = [EncodedPair((number,), (0,), truncated=number == 1) for number in range(4)]
    results = map(np.array, ([0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.1, 0.8, 0.1], [0.6, 0.1, 0.3]))
    request = Request(PAIRS, Shape.LIST, sentences=sentences)
    first, second = EncodedRequest(request, pairs).answers(LABELS, results)
    assert (first.pair, first.label, first.truncated) == (PAIRS[0], "contradiction", True)
    assert first.sentence == DecidingSentence(0, sentences[0], truncated=False)
    assert (second.pair, second.label, second.truncated) == (PAIRS[1], "entailment", False)
    described = describe_answer(second, ModelIdentity("tiny", "nli", "1.0"))["sentence"]
    assert described == {"index": 1, "start": 4, "end": 7, "text": "나다.", "truncated": False}


def test_each_pair_is_explained_by_its_own_variants(encoder: PairEncoder) -> None:
    answers = []
    for pairs in (PAIRS, PAIRS[:1], PAIRS[1:]):
        found = ExplainedRequest.of(Request(pairs, Shape.LIST), encoder, 2)
        lengths = [len(pair.input_ids) / 100 for pair in found.pairs]
        answers += found.answers(LABELS, [np.array([1 - length, length, 0]) for length in lengths])
    assert answers[:2] == answers[2:]
    assert [len(each.explanation.premise) for each in answers[:2] if each.explanation] == [2, 2]


@pytest.mark.parametrize("explained", [False, True], ids=["read", "explained"])
def test_a_pair_that_the_model_fails_on_is_named(encoder: PairEncoder, explained: bool) -> None:
    plain = EncodedRequest(REQUEST, encoder.encode(PAIRS))
    found = ExplainedRequest.of(REQUEST, encoder, 2) if explained else plain
    results: list[Result] = [np.array([0.2, 0.3, 0.5]) for _ in found.pairs]
    results[-1] = InferenceFailed("the model failed on this pair")
    with pytest.raises(InferenceFailed, match=r"^\[1\]: the model failed on this pair$"):
        found.answers(LABELS, results)
