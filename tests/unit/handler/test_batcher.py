"""Batchers: every pair once, little padding, and no shape that wasn't warmed up."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from handler.batcher import (
    BATCH_OVERHEAD,
    BATCH_ROWS,
    ROW_PAIRS,
    ROW_TOKENS,
    Batcher,
    PackedBatcher,
    PaddedBatcher,
)
from handler.encoding import EncodedPair


def pair(*ids: int) -> EncodedPair:
    return EncodedPair(ids, (0,) * (len(ids) // 2) + (1,) * (len(ids) - len(ids) // 2), False)


def of_length(*lengths: int) -> list[EncodedPair]:
    return [pair(number + 100, *range(1, length)) for number, length in enumerate(lengths)]


def shapes(batcher: Batcher, pairs: list[EncodedPair]) -> list[tuple[int, ...]]:
    return [each.inputs["input_ids"].shape for each in batcher.batches(pairs)]


def random_batches(longest: int, shortest: int = 5) -> list[list[EncodedPair]]:
    random = Random(0)
    return [
        of_length(*(random.randint(shortest, longest) for _ in range(random.randint(1, 70))))
        for _ in range(300)
    ]


@pytest.mark.parametrize(
    "batcher", [PaddedBatcher(0, 4096, 64), PackedBatcher(0, 4096, 64)], ids=["padded", "packed"]
)
def test_every_pair_is_in_one_batch_and_within_the_budget(batcher: Batcher) -> None:
    for batch in random_batches(64):
        batches = list(batcher.batches(batch))
        assert sorted(
            (pair for each in batches for pair in each.pairs), key=lambda one: one.input_ids
        ) == sorted(batch, key=lambda one: one.input_ids)
        assert max(each.size for each in batches) <= 4096
        assert all(len(each.places) == len(set(each.places.tolist())) == len(each.pairs) for each in batches)
    assert list(batcher.batches([])) == []


def test_padded_batches_hold_similar_lengths_within_the_token_budget() -> None:
    assert shapes(PaddedBatcher(0, 120, 64), of_length(2, 40, 3, 38, 2, 4, 39)) == [(2, 40), (1, 40), (4, 4)]


def test_one_long_pair_does_not_pad_the_others() -> None:
    assert shapes(PaddedBatcher(0, 4096, 64), of_length(60, *[2] * 8)) == [(1, 60), (8, 4)]


def test_a_little_padding_is_cheaper_than_another_batch() -> None:
    batcher = PaddedBatcher(0, 4096, 512)
    assert shapes(batcher, of_length(BATCH_OVERHEAD + 4, 4)) == [(2, BATCH_OVERHEAD + 4)]
    assert shapes(batcher, of_length(BATCH_OVERHEAD + 8, 4)) == [(1, BATCH_OVERHEAD + 8), (1, 4)]


def test_no_padded_batch_is_longer_than_the_model_reads() -> None:
    batcher = PaddedBatcher(0, 4096, 62)
    assert shapes(batcher, of_length(62)) == [(1, 62)]
    assert max(each.inputs["input_ids"].shape[1] for each in batcher.examples()) == 62


def test_padded_examples_have_every_shape_that_a_batch_can_have() -> None:
    batcher = PaddedBatcher(0, 64, 16)
    warm = {each.inputs["input_ids"].shape for each in batcher.examples()}
    assert {shape for batch in random_batches(16, 1) for shape in shapes(batcher, batch)} <= warm


def test_packed_rows_tell_each_pair_where_it_is() -> None:
    first, second = pair(7, 8, 9, 10, 11), pair(20, 21, 22)
    (only,) = PackedBatcher(0, 4096, 64).batches([second, first])
    assert only.pairs == [first, second]
    assert only.inputs["input_ids"].tolist() == [[7, 8, 9, 10, 11, 20, 21, 22]]
    assert only.inputs["token_type_ids"].tolist() == [[0, 0, 1, 1, 1, 0, 1, 1]]
    assert only.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2]]
    assert only.inputs["segments"].tolist() == [[0] * 5 + [1] * 3]
    assert only.inputs["cls_positions"].tolist() == [[0, 5] + [0] * (ROW_PAIRS - 2)]
    assert only.places.tolist() == [0, 1]


def test_what_fills_up_a_packed_row_is_no_pair_s() -> None:
    (only,) = PackedBatcher(9, 4096, 64).batches([pair(1, 2, 3, 4, 5)])
    assert only.inputs["input_ids"].tolist() == [[1, 2, 3, 4, 5, 9, 9, 9]]
    assert only.inputs["segments"].tolist() == [[0, 0, 0, 0, 0, -1, -1, -1]]
    assert only.inputs["cls_positions"].shape == (1, 1)
    assert (only.tokens, only.size) == (5, 8)


def test_packed_rows_leave_less_empty_than_padded_batches() -> None:
    random = Random(1)
    batch = of_length(*(min(64, max(8, round(random.gauss(30, 10)))) for _ in range(16)))
    padding = {}
    for batcher in (PaddedBatcher(0, 4096, 64), PackedBatcher(0, 4096, 64)):
        batches = list(batcher.batches(batch))
        padding[type(batcher)] = sum(each.size for each in batches) / sum(each.tokens for each in batches) - 1
    assert padding[PackedBatcher] < 0.08 < padding[PaddedBatcher]


def test_packed_batches_share_many_rows_evenly() -> None:
    found = shapes(PackedBatcher(0, 4096, 64), of_length(*[64] * 18))
    assert found == [(4, ROW_TOKENS), (5, ROW_TOKENS)]
    assert all(rows <= BATCH_ROWS for rows, _ in found)
    assert shapes(PackedBatcher(0, 256, 64), of_length(*[64] * 8)) == [(2, ROW_TOKENS)] * 2


def test_a_pair_longer_than_the_budget_or_a_usual_row_has_a_row() -> None:
    assert shapes(PackedBatcher(0, 1, 300), of_length(300, 200)) == [(1, 300), (1, 200)]


def test_nearly_all_packed_batches_have_the_shape_of_an_example() -> None:
    batcher = PackedBatcher(0, 4096, 64)
    warm = {
        tuple(each.inputs[name].shape for name in ("input_ids", "cls_positions"))
        for each in batcher.examples()
    }
    assert len(warm) < 100
    found = [
        tuple(each.inputs[name].shape for name in ("input_ids", "cls_positions"))
        for batch in random_batches(64)
        for each in batcher.batches(batch)
    ]
    assert np.mean([shape in warm for shape in found]) > 0.95
