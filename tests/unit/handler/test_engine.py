"""The engine: answers that do not depend on the rest of the batch, and faults that stay with their pair."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handler import engine
from handler.batcher import PackedBatcher, PaddedBatcher
from handler.checkpoint import Checkpoint
from handler.encoding import EncodedPair, PairEncoder
from handler.engine import Engine, available_cores, load_engine, threads_per_worker
from handler.errors import ConfigurationError, InferenceFailed
from handler.request import SentencePair
from handler.torch_model import TorchModel

POISON = 7


class CountingModel:
    """A real little function instead of a network: logits from the ids, failing on one of them."""

    packed = False
    padded = True

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []

    def logits(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        input_ids, attention_mask = inputs["input_ids"], inputs["attention_mask"]
        self.batches.append(input_ids.shape)
        if (input_ids == POISON).any():
            raise RuntimeError("a pair that makes the model fail")
        total = (input_ids * attention_mask).sum(axis=1, dtype=np.float32)
        logits = np.stack([total, total * 0, -total], axis=1).astype(np.float32)
        logits[total == 13] = np.nan
        return logits


def counting_engine(model: CountingModel) -> Engine:
    return Engine(model, PaddedBatcher(0, 4096, 64))


def pair(*ids: int) -> EncodedPair:
    return EncodedPair(ids, (0,) * len(ids), False)


def test_one_failing_pair_fails_alone() -> None:
    results = counting_engine(CountingModel()).probabilities([pair(1), pair(POISON), pair(2, 3)])
    assert isinstance(results[1], InferenceFailed)
    assert [type(result) for result in results] == [np.ndarray, InferenceFailed, np.ndarray]


def test_an_answer_that_is_not_finite_is_an_error() -> None:
    good, bad = counting_engine(CountingModel()).probabilities([pair(1), pair(6, 7 - 1, 1)])
    assert isinstance(bad, InferenceFailed)
    assert isinstance(good, np.ndarray)


def test_what_is_not_finite_in_a_row_fails_alone() -> None:
    class PackedModel(CountingModel):
        packed = True

        def logits(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
            self.batches.append(inputs["input_ids"].shape)
            rows = np.where(inputs["input_ids"] == POISON, np.nan, inputs["input_ids"]).sum(axis=1)
            return np.tile(rows[:, None, None], (*inputs["cls_positions"].shape, 3)).astype(np.float32)

    model = PackedModel()
    results = Engine(model, PackedBatcher(0, 4096, 64)).probabilities([pair(1, 2), pair(1, POISON), pair(3)])
    assert [type(result) for result in results] == [np.ndarray, InferenceFailed, np.ndarray]
    assert len(model.batches) == 4


def test_equal_pairs_are_computed_once() -> None:
    model = CountingModel()
    results = counting_engine(model).probabilities([pair(1, 2), pair(3), pair(1, 2)])
    assert model.batches == [(2, 4)]
    assert np.array_equal(np.asarray(results[0]), np.asarray(results[2]))


def test_a_pair_longer_than_the_budget_is_still_answered() -> None:
    (result,) = Engine(CountingModel(), PaddedBatcher(0, 1, 64)).probabilities([pair(1, 1)])
    assert isinstance(result, np.ndarray)


def test_no_pairs_no_model_batch() -> None:
    model = CountingModel()
    assert counting_engine(model).probabilities([]) == []
    assert model.batches == []


def test_the_real_model_answers_alike_in_any_company(tiny_checkpoint: Path) -> None:
    checkpoint = Checkpoint.read(tiny_checkpoint)
    engine = load_engine(checkpoint, torch.device("cpu"), threads=1)
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
        def logits(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
            return np.full((len(inputs["input_ids"]), 3), np.nan, dtype=np.float32)

    with pytest.raises(ConfigurationError, match="no finite answer"):
        counting_engine(Broken()).warm_up()


def test_missing_weights_stop_the_start(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((tiny_checkpoint / "config.json").read_bytes())
    with pytest.raises(ConfigurationError, match="can't be loaded"):
        TorchModel(tmp_path, torch.device("cpu"), threads=1)


def test_threads_follow_cores_and_workers() -> None:
    assert threads_per_worker(0, 1, small=False) == available_cores() >= 1


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("", 8)]
)
def test_a_containers_cpu_limit_counts(
    limit: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    monkeypatch.setattr(engine, "CPU_LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8), raising=False)
    assert available_cores() == cores
    assert threads_per_worker(0, 10_000, small=False) == 1
    assert threads_per_worker(0, 1, small=True) == 1
    assert threads_per_worker(3, 10_000, small=True) == 3
