"""Encoding: the truncation rule against its step-by-step definition, and what text becomes."""

from __future__ import annotations

import itertools
import time
import timeit
import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from handler.encoding import PairEncoder, kept_tokens
from handler.errors import ConfigurationError
from handler.request import SentencePair

CLS, SEP, UNK = 2, 3, 1


@pytest.fixture(scope="module")
def encoder(tiny_checkpoint: Path) -> PairEncoder:
    return PairEncoder.from_folder(tiny_checkpoint, max_seq_length=64)


def cut_step_by_step(premise: int, hypothesis: int, budget: int) -> tuple[int, int]:
    """The rule as transformers 4's Python tokenizer applies it."""
    while premise + hypothesis > budget:
        if premise > hypothesis:
            premise -= 1
        else:
            hypothesis -= 1
    return premise, hypothesis


@pytest.mark.parametrize("budget", [2, 3, 13, 14, 61])
def test_kept_tokens_equals_cutting_one_token_at_a_time(budget: int) -> None:
    lengths = range(2 * budget + 3)
    for premise, hypothesis in itertools.product(lengths, lengths):
        expected = cut_step_by_step(premise, hypothesis, budget)
        assert kept_tokens(premise, hypothesis, budget) == expected, (premise, hypothesis)


def test_a_pair_is_laid_out_with_special_tokens_and_types(encoder: PairEncoder) -> None:
    (encoded,) = encoder.encode([SentencePair("가 나", "다")])
    assert (encoded.input_ids[0], encoded.input_ids[3], encoded.input_ids[5]) == (CLS, SEP, SEP)
    assert encoded.token_type_ids == (0, 0, 0, 0, 1, 1)
    assert not encoded.truncated


def test_long_texts_are_cut_to_31_and_30_tokens_and_say_so(encoder: PairEncoder) -> None:
    (encoded,) = encoder.encode([SentencePair("가 " * 100, "나 " * 100)])
    assert len(encoded.input_ids) == 64
    assert encoded.input_ids.index(SEP) == 32
    assert encoded.truncated


def test_a_text_that_pairs_share_is_tokenized_once(
    encoder: PairEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    token_ids = PairEncoder._token_ids

    def recorded(self: PairEncoder, texts: list[str]) -> list[list[int]]:
        read.extend(texts)
        return token_ids(self, texts)

    pairs = [SentencePair("비가 온다.", "날씨가 맑다."), SentencePair("비가 온다.", "비가 온다.")]
    expected = [encoder.encode([pair])[0] for pair in pairs]
    monkeypatch.setattr(PairEncoder, "_token_ids", recorded)
    assert encoder.encode(pairs) == expected
    assert read == ["비가 온다.", "날씨가 맑다."]


def test_decomposed_hangul_is_read_like_composed(encoder: PairEncoder) -> None:
    pair = SentencePair("남자가 책을 읽는다.", "비가 온다.")
    decomposed = SentencePair(
        *(unicodedata.normalize("NFD", text) for text in (pair.premise, pair.hypothesis))
    )
    assert decomposed.premise != pair.premise
    assert encoder.encode([decomposed]) == encoder.encode([pair])


def test_a_long_run_of_combining_marks_is_read_at_once(encoder: PairEncoder) -> None:
    pair = SentencePair("가" + "\u0301\u0327" * 24_999, "비가 온다.")
    began = time.process_time()
    encoder.encode([pair])
    encoder.words(pair)
    assert time.process_time() - began < 1


def test_control_tokens_that_a_user_typed_are_text(encoder: PairEncoder) -> None:
    (encoded,) = encoder.encode([SentencePair("가 [SEP] 나", "[CLS] [MASK]")])
    assert encoded.input_ids.count(SEP) == 2
    assert encoded.input_ids.count(CLS) == 1


def test_text_that_the_tokenizer_drops_leaves_an_empty_side(encoder: PairEncoder) -> None:
    (encoded,) = encoder.encode([SentencePair("가", "\u200b")])
    assert encoded.input_ids[2:] == (SEP, SEP)


@pytest.mark.parametrize(
    "text",
    [
        "가나 다라 " * 8000,
        "가" * 50_000,
        "뷁" * 99 + " 가" * 20_000,
        " " * 40_000 + "가 나",
        "\x00" * 9_000 + " 가",
    ],
)
def test_a_long_text_is_read_as_if_it_were_tokenized_whole(encoder: PairEncoder, text: str) -> None:
    whole = encoder._tokenizer.encode(text, add_special_tokens=False).ids
    (encoded,) = encoder.encode([SentencePair(text, "다")])
    kept = kept_tokens(len(whole), 1, 61)[0]
    assert list(encoded.input_ids[1 : 1 + kept]) == whole[:kept]
    assert encoded.truncated == (len(whole) + 1 > 61)


def test_the_cost_of_a_long_text_does_not_grow_with_its_length(encoder: PairEncoder) -> None:
    def seconds(text: str) -> float:
        pairs = [SentencePair(f"{text}가 {number}", f"{text}나 {number}") for number in range(32)]
        return min(timeit.repeat(lambda: encoder.encode(pairs), timer=time.process_time, number=1))

    # Tokenized whole, the second takes 20 times the first; with the tokenizer's own truncation 400 times.
    assert seconds("가나 다라 " * 8000) < 10 * seconds("가나 다라 " * 400)


def test_a_tokenizer_that_lays_out_pairs_otherwise_is_followed(tiny_checkpoint: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer.from_file(str(tiny_checkpoint / "tokenizer.json"))
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] [SEP] $B [SEP]",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    (encoded,) = PairEncoder(tokenizer, 12).encode([SentencePair("가 " * 20, "나 " * 20)])
    assert len(encoded.input_ids) == 12
    assert encoded.input_ids[5:7] == (SEP, SEP)
    assert set(encoded.token_type_ids) == {0}


def test_a_length_without_room_for_two_texts_stops_the_start(tiny_checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError, match="no room"):
        PairEncoder.from_folder(tiny_checkpoint, max_seq_length=4)


def test_a_missing_tokenizer_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json"):
        PairEncoder.from_folder(tmp_path, 64)
