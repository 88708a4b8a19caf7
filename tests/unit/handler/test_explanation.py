"""Which words are left out, and what their weights say of a model whose reasons are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from handler.checkpoint import Checkpoint
from handler.encoding import EncodedPair, PairEncoder
from handler.explanation import ALONE, PARTS, PHRASES, Explanation, Occlusion, left_out
from handler.request import SentencePair

WORDS = ["비가", "온다.", "남자가", "책을", "읽는다.", "여자가", "날씨가", "맑다.", "없다.", "있다."]
Score = Callable[[EncodedPair], float]


@pytest.fixture(scope="module")
def encoder(tiny_checkpoint: Path) -> PairEncoder:
    return PairEncoder.from_folder(tiny_checkpoint, Checkpoint.read(tiny_checkpoint).max_seq_length)


def occlusion(encoder: PairEncoder, premise: str, hypothesis: str) -> Occlusion:
    pair = SentencePair(premise, hypothesis)
    return Occlusion.of(pair, encoder.encode([pair])[0], encoder)


def explain(found: Occlusion, score: Score) -> Explanation:
    """Explain what a model answers that gives the first label this probability."""
    answers = [np.array([score(pair), 1 - score(pair)]) for pair in found.pairs]
    return found.explain(answers)


def holds(encoder: PairEncoder, word: str) -> Callable[[EncodedPair], bool]:
    (ids,) = encoder._token_ids([word])

    def holds(pair: EncodedPair) -> bool:
        return any(list(pair.input_ids[at : at + len(ids)]) == ids for at in range(len(pair.input_ids)))

    return holds


# --- which words are left out ------------------------------------------------------------------------


@pytest.mark.parametrize("premise", [0, 1, 2, 5, 10, 11, 40])
def test_every_word_is_left_out_and_never_all_words_of_a_long_pair(premise: int) -> None:
    for hypothesis in range(30):
        variants = left_out(premise, hypothesis)
        count = premise + hypothesis
        assert {word for each in variants for word in each} == set(range(count))
        assert all(variants)
        assert len(variants) <= max(ALONE, PHRASES + PARTS)
        assert count <= ALONE or all(len(each) < count for each in variants)


def test_few_words_are_left_out_one_by_one() -> None:
    assert left_out(5, 4) == [[word] for word in range(9)]


def test_a_phrase_is_not_across_both_texts() -> None:
    for phrase in left_out(13, 7)[:PHRASES]:
        assert (phrase[0] < 13) == (phrase[-1] < 13)


def test_a_variant_is_the_pair_written_without_the_words(encoder: PairEncoder) -> None:
    premise, hypothesis = WORDS[:8], WORDS[3:]
    found = occlusion(encoder, "  ".join(premise), "\n".join(hypothesis))
    written = []
    for gone in found.left_out:
        kept = [word for place, word in enumerate(premise) if place not in gone]
        other = [word for place, word in enumerate(hypothesis, len(premise)) if place not in gone]
        written.append(SentencePair(" ".join(kept), " ".join(other)))
    assert list(found.pairs[1:]) == encoder.encode(written)


# --- weights -----------------------------------------------------------------------------------------


def test_the_one_word_that_counts_has_all_the_weight(encoder: PairEncoder) -> None:
    found = explain(
        occlusion(encoder, "비가 온다.", "날씨가 맑다."),
        lambda pair: 0.9 if holds(encoder, "맑다.")(pair) else 0.6,
    )
    weights = {word.text: weight for word, weight in (*found.premise, *found.hypothesis)}
    assert weights == pytest.approx({"비가": 0, "온다.": 0, "날씨가": 0, "맑다.": 0.3})


def test_a_word_that_speaks_against_the_label_has_a_negative_weight(encoder: PairEncoder) -> None:
    found = explain(
        occlusion(encoder, "비가 온다.", "날씨가 맑다."),
        lambda pair: 0.6 if holds(encoder, "비가")(pair) else 0.8,
    )
    assert found.premise[0][1] == pytest.approx(-0.2)


@pytest.mark.parametrize("place", range(0, 24, 5))
def test_in_a_long_pair_the_word_that_counts_weighs_most(encoder: PairEncoder, place: int) -> None:
    words = ["책"] * 24
    words[place] = "비"
    found = explain(
        occlusion(encoder, " ".join(words[:15]), " ".join(words[15:])),
        lambda pair: 0.9 if holds(encoder, "비")(pair) else 0.5,
    )
    weights = [weight for _, weight in (*found.premise, *found.hypothesis)]
    assert weights[place] == pytest.approx(max(weights))
    assert weights[place] > 0.1
    assert sum(weight > 0.99 * weights[place] for weight in weights) <= 2


def test_weights_add_up_to_what_was_lost(encoder: PairEncoder) -> None:
    found = occlusion(encoder, " ".join(WORDS), " ".join(WORDS))
    counts: Score = lambda pair: 0.5 + len(pair.input_ids) / 200  # noqa: E731
    weighed = explain(found, counts)
    weights = [weight for _, weight in (*weighed.premise, *weighed.hypothesis)]
    for gone, pair in zip(found.left_out, found.pairs[1:], strict=True):
        lost = counts(found.pairs[0]) - counts(pair)
        assert sum(weights[word] for word in gone) == pytest.approx(lost, abs=0.02)


# --- texts -------------------------------------------------------------------------------------------


def test_places_are_those_of_the_text_as_it_was_sent(encoder: PairEncoder) -> None:
    decomposed = "\u1102\u1161\u11af\u110a\u1175\u1100\u1161"  # 날씨가
    texts = (f" 😀\t{decomposed} 맑다.", "비가\u3000온다.")
    found = occlusion(encoder, *texts)
    for text, words in zip(texts, (found.premise, found.hypothesis), strict=True):
        assert [text[word.start : word.end] for word in words] == text.split()
        assert [word.text for word in words] == text.split()


@pytest.mark.parametrize("premise", ["비가 온다. " * 100, "비가 온다. " * 5000, " " * 9000 + "비가 온다."])
def test_words_that_are_cut_have_no_weight_and_are_counted(encoder: PairEncoder, premise: str) -> None:
    pair = SentencePair(premise, "날씨가 맑다.")
    (whole,) = encoder.encode([pair])
    found = Occlusion.of(pair, whole, encoder)
    assert found.unread == (len(premise.split()) - len(found.premise), 0)
    assert bool(found.unread[0]) == whole.truncated
    kept = [[i for _, ids in words for i in ids] for words in encoder.words(pair)]
    assert encoder.join(*kept).input_ids == whole.input_ids
    # Words beyond the cut don't take the place of those that are left out.
    assert all(len(each.input_ids) < len(whole.input_ids) for each in found.pairs[1:])


@pytest.mark.parametrize(
    "premise",
    [
        "\u200b",
        "\x00\x01가",
        "뷁" * 200,
        "가" * 5000,
        "[SEP]",
        "مرحبا",
        "가\u0301",
        "가" + "\u0301\u0327" * 20_000,
    ],
)
def test_odd_texts_are_explained(encoder: PairEncoder, premise: str) -> None:
    found = explain(occlusion(encoder, premise, "비가 온다."), lambda pair: len(pair.input_ids) / 100)
    assert found.unread == (0, 0)
    assert len(found.premise) == (premise != "\u200b")


def test_a_pair_without_a_token_has_no_words(encoder: PairEncoder) -> None:
    found = explain(occlusion(encoder, "\x01", "\x01 \x02"), lambda pair: len(pair.input_ids) / 100)
    assert found == Explanation((), (), (0, 0))


@pytest.mark.parametrize(
    "premise",
    [
        "비가 \u200b 온다.",
        "비가 온다. \u200b",
        "\u200b " + "비가 온다. " * 99,
        "비가 온다. " * 11 + "\u200b 비가" * 9,
    ],
    ids=["in the middle", "at the end", "before words that are cut", "among words that are cut"],
)
def test_a_word_without_a_token_is_counted_only_where_it_is_cut(encoder: PairEncoder, premise: str) -> None:
    found = occlusion(encoder, premise, "날씨가 맑다. \u200b")
    behind = premise[found.premise[-1].end :].split()
    truncated = found.pairs[0].truncated
    assert truncated == (len(premise) > 20)
    assert found.unread == (len(behind) if truncated else 0, 0)
    assert "\u200b" not in [word.text for word in found.premise]


@pytest.mark.parametrize(("words", "times"), [(4, 4), (10, 10), (11, 7), (20, 7)])
def test_the_cost_is_as_many_predictions_as_words_up_to_ten_and_then_seven(
    encoder: PairEncoder, words: int, times: int
) -> None:
    found = occlusion(encoder, "비가 " * (words // 2), "비가 " * (words - words // 2))
    tokens = [len(pair.input_ids) for pair in found.pairs]
    assert sum(tokens) / tokens[0] == pytest.approx(times, abs=0.5)
