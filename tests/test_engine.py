"""The engine: equal answers whoever shares the batch, and faults that stay with their pair."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handler.checkpoint import Checkpoint
from handler.encoding import EncodedPair, PairEncoder
from handler.engine import PASS_TOKENS, Engine, load_engine, threads_per_worker
from handler.errors import ConfigurationError, InferenceFailed
from handler.request import SentencePair
from handler.torch_model import TorchModel

POISON = 7


class CountingModel:
    """A real little function instead of a network: logits from the ids, failing on one of them."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []

    def logits(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        token_type_ids: NDArray[np.int64],  # noqa: ARG002
    ) -> NDArray[np.float32]:
        self.batches.append(input_ids.shape)
        if (input_ids == POISON).any():
            raise RuntimeError("a pair that makes the model fail")
        total = (input_ids * attention_mask).sum(axis=1, dtype=np.float32)
        logits = np.stack([total, total * 0, -total], axis=1).astype(np.float32)
        logits[total == 13] = np.nan
        return logits


def pair(*ids: int) -> EncodedPair:
    return EncodedPair(ids, (0,) * len(ids), False)


def test_one_failing_pair_fails_alone() -> None:
    results = Engine(CountingModel(), 0, 4096).probabilities([pair(1), pair(POISON), pair(2, 3)])
    assert isinstance(results[1], InferenceFailed)
    assert [type(result) for result in results] == [np.ndarray, InferenceFailed, np.ndarray]


def test_an_answer_that_is_not_finite_is_an_error() -> None:
    good, bad = Engine(CountingModel(), 0, 4096).probabilities([pair(1), pair(6, 7 - 1, 1)])
    assert isinstance(bad, InferenceFailed)
    assert isinstance(good, np.ndarray)


def test_batches_hold_similar_lengths_within_the_token_budget() -> None:
    model = CountingModel()
    pairs = [pair(*range(20, 20 + length)) for length in (2, 40, 3, 38, 2, 4, 39)]
    pairs[0] = pair(90, 91)
    results = Engine(model, 0, max_batch_tokens=120).probabilities(pairs)
    assert model.batches == [(2, 40), (1, 40), (4, 4)]
    for each, result in zip(pairs, results, strict=True):
        alone = Engine(CountingModel(), 0, 4096).probabilities([each])[0]
        assert np.array_equal(np.asarray(result), np.asarray(alone))


def test_one_long_pair_does_not_pad_the_others() -> None:
    model = CountingModel()
    Engine(model, 0, 4096).probabilities([pair(*range(20, 80)), *(pair(20 + n, 21) for n in range(8))])
    assert model.batches == [(1, 60), (8, 4)]


def test_a_little_padding_is_cheaper_than_another_pass() -> None:
    model = CountingModel()
    Engine(model, 0, 4096).probabilities([pair(*range(20, 20 + PASS_TOKENS + 4)), pair(20, 21, 22, 23)])
    Engine(model, 0, 4096).probabilities([pair(*range(20, 20 + PASS_TOKENS + 8)), pair(20, 21, 22, 23)])
    assert model.batches == [(2, PASS_TOKENS + 4), (1, PASS_TOKENS + 8), (1, 4)]


def test_no_pass_is_longer_than_the_model_reads() -> None:
    model = CountingModel()
    engine = Engine(model, 0, 4096, max_seq_length=62)
    engine.probabilities([pair(*range(20, 82))])
    engine.warm_up()
    assert max(tokens for _, tokens in model.batches) == 62


def test_warm_up_runs_every_shape_that_a_batch_can_have() -> None:
    model = CountingModel()
    engine = Engine(model, 0, max_batch_tokens=64, max_seq_length=16)
    engine.warm_up()
    warm = set(model.batches)
    random = Random(0)
    for _ in range(200):
        count = random.randint(1, 20)
        engine.probabilities([pair(n + 20, *[9] * random.randint(0, 15)) for n in range(count)])
    assert set(model.batches) == warm


def test_equal_pairs_are_computed_once() -> None:
    model = CountingModel()
    results = Engine(model, 0, 4096).probabilities([pair(1, 2), pair(3), pair(1, 2)])
    assert model.batches == [(2, 4)]
    assert np.array_equal(np.asarray(results[0]), np.asarray(results[2]))


def test_a_pair_longer_than_the_budget_is_still_answered() -> None:
    (result,) = Engine(CountingModel(), 0, max_batch_tokens=1).probabilities([pair(1, 1)])
    assert isinstance(result, np.ndarray)


def test_no_pairs_no_pass() -> None:
    model = CountingModel()
    assert Engine(model, 0, 4096).probabilities([]) == []
    assert model.batches == []


def test_the_real_model_answers_alike_in_any_company(tiny_checkpoint: Path) -> None:
    checkpoint = Checkpoint.read(tiny_checkpoint)
    engine = load_engine(checkpoint, torch.device("cpu"), threads=1, max_batch_tokens=300)
    encoder = PairEncoder.from_folder(tiny_checkpoint, 64)
    texts = ["가", "나다 라마", "비가 온다.", "남자가 책을 읽는다. " * 9, "여자가 책을 읽지 않았다."]
    pairs = encoder.encode([SentencePair(first, second) for first in texts for second in texts])
    together = np.array(engine.probabilities(pairs))
    alone = np.array([engine.probabilities([each])[0] for each in pairs])
    assert np.abs(together - alone).max() < 1e-6
    assert np.abs(together.sum(axis=1) - 1).max() < 1e-12
    assert together.std(axis=0).max() > 0.01  # the pairs really are answered differently


def test_warm_up_refuses_a_model_that_answers_nothing_finite() -> None:
    class Broken(CountingModel):
        def logits(self, *inputs: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.full((len(inputs[0]), 3), np.nan, dtype=np.float32)

    with pytest.raises(ConfigurationError, match="no finite answer"):
        Engine(Broken(), 0, 4096).warm_up()


def test_missing_weights_stop_the_start(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((tiny_checkpoint / "config.json").read_bytes())
    with pytest.raises(ConfigurationError, match="can't be loaded"):
        TorchModel(tmp_path, torch.device("cpu"), threads=1)


def test_threads_follow_cores_and_workers() -> None:
    cores = threads_per_worker(0, 1)
    assert cores >= 1
    assert threads_per_worker(0, 10_000) == 1
    assert threads_per_worker(3, 10_000) == 3
