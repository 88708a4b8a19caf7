"""What explanations are worth and what they cost, with a real model and pairs that it was not trained on.

    TEST_PAIRS=pairs.jsonl TEST_CHECKPOINT=checkpoints/demo python -m pytest -s -m long \
        tests/service/test_explanations_measured.py
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
from numpy.typing import NDArray

from handler.checkpoint import Checkpoint
from handler.explanation import Occlusion
from handler.request import SentencePair
from scripts.model.archive import archive_of
from scripts.pairs.labelled import read_labelled_pairs
from scripts.pairs.local_model import LocalModel
from scripts.serve import DEMO
from scripts.torchserve.server import Ports, TorchServe

pytestmark = pytest.mark.long

CHECKPOINT = Path(os.environ.get("TEST_CHECKPOINT", DEMO))
COUNT = 500
DRAWS = 20
REMOVED = 3
CLIENTS = 16


@pytest.fixture(scope="module")
def pairs() -> list[SentencePair]:
    """Labelled pairs in random order."""
    if "TEST_PAIRS" not in os.environ:
        pytest.skip("TEST_PAIRS names no file of labelled pairs that the model was not trained on")
    found = [each.pair for each in read_labelled_pairs(Path(os.environ["TEST_PAIRS"]))]
    random.Random(0).shuffle(found)
    return found


def words(pair: SentencePair) -> int:
    return len(pair.premise.split()) + len(pair.hypothesis.split())


# --- faithfulness ------------------------------------------------------------------------------------


def without(pair: SentencePair, removed: Iterable[int]) -> SentencePair:
    """A pair without some of its words, counted through both texts."""
    gone, premise = set(removed), pair.premise.split()
    kept = [word for place, word in enumerate(premise) if place not in gone]
    other = [w for place, w in enumerate(pair.hypothesis.split(), len(premise)) if place not in gone]
    return SentencePair(" ".join(kept), " ".join(other))


def strongest(model: LocalModel, pair: SentencePair) -> list[int]:
    occlusion = Occlusion.of(pair, model.encode([pair])[0], model.encoder)
    results = model.engine.probabilities(occlusion.pairs)
    explanation = occlusion.explain([np.asarray(result) for result in results])
    weights = [weight for _, weight in (*explanation.premise, *explanation.hypothesis)]
    return sorted(range(len(weights)), key=lambda place: -weights[place])[:REMOVED]


def test_removing_the_strongest_words_changes_more_than_removing_others(
    pairs: list[SentencePair], capsys: pytest.CaptureFixture[str]
) -> None:
    model = LocalModel(Checkpoint.read(CHECKPOINT))
    # Enough words for three others, and all of them read.
    chosen = [pair for pair in pairs if words(pair) >= 2 * REMOVED and not model.encode([pair])[0].truncated]
    chosen = chosen[:COUNT]
    assert len(chosen) == COUNT
    whole = model.probabilities(chosen)
    labels = whole.argmax(axis=1)
    top = [strongest(model, pair) for pair in chosen]

    def effect(variants: Sequence[SentencePair]) -> NDArray[np.float64]:
        """The share of pairs whose label changes, and the mean loss of probability."""
        rows = np.arange(COUNT)
        found = model.probabilities(variants)
        lost = whole[rows, labels] - found[rows, labels]
        return np.array([(found.argmax(axis=1) != labels).mean(), lost.mean()])

    by_weight = effect([without(*both) for both in zip(chosen, top, strict=True)])
    draws = []
    for seed in range(DRAWS):
        chance = random.Random(seed)
        others = [
            chance.sample(sorted(set(range(words(pair))) - set(gone)), REMOVED)
            for pair, gone in zip(chosen, top, strict=True)
        ]
        draws.append(effect([without(*both) for both in zip(chosen, others, strict=True)]))
    by_chance = np.mean(draws, axis=0)
    flips, loss = by_weight / by_chance
    with capsys.disabled():
        print(
            f"\n{COUNT} pairs, {CHECKPOINT.name}: without the {REMOVED} strongest words {by_weight[0]:.1%} "
            f"change the label and lose {by_weight[1]:.3f}; without {REMOVED} others {by_chance[0]:.1%} and "
            f"{by_chance[1]:.3f} (mean of {DRAWS} draws): {flips:.1f} and {loss:.1f} times as much"
        )
    assert flips >= 1.5
    assert loss >= 2


# --- cost --------------------------------------------------------------------------------------------


class Load:
    """Clients that ask a service, and the seconds that each answer took."""

    def __init__(self, url: str, pairs: Sequence[SentencePair]) -> None:
        self.url = url
        self.bodies = [{"premise": pair.premise, "hypothesis": pair.hypothesis} for pair in pairs]
        self.explained: dict[int, str] = {}

    def ask(self, session: requests.Session, place: int, explain: bool) -> float:
        path = "explanations" if explain else "predictions"
        began = time.perf_counter()
        place %= len(self.bodies)
        answer = session.post(f"{self.url}/{path}/nli", json=self.bodies[place], timeout=60)
        took = time.perf_counter() - began
        assert answer.status_code == 200, answer.text
        if explain:  # the same to the last digit, whatever shares its batch
            assert self.explained.setdefault(place, answer.text) == answer.text
        return took

    def in_turns(self, count: int) -> tuple[list[float], list[float]]:
        """Seconds of predictions and explanations of one client that asks for both in turns."""
        with requests.Session() as session:
            for place in range(10):
                self.ask(session, place, explain=place % 2 == 0)
            both = [(self.ask(session, n, False), self.ask(session, n, True)) for n in range(count)]
        predictions, explanations = zip(*both, strict=True)
        return list(predictions), list(explanations)

    def beside(self, share: float, seconds: float) -> tuple[list[float], list[float]]:
        """Seconds of predictions and explanations of many clients; `share` is of the latter."""
        until = time.perf_counter() + seconds

        def run(client: int) -> tuple[list[float], list[float]]:
            chance = random.Random(client)
            took: tuple[list[float], list[float]] = ([], [])
            with requests.Session() as session:
                while time.perf_counter() < until:
                    explain = chance.random() < share
                    took[explain].append(self.ask(session, chance.randrange(10_000), explain))
            return took

        with ThreadPoolExecutor(CLIENTS) as pool:
            parts = list(pool.map(run, range(CLIENTS)))
        return [s for predicted, _ in parts for s in predicted], [s for _, found in parts for s in found]


def milliseconds(seconds: Sequence[float], share: float) -> float:
    return 1000 * sorted(seconds)[int(share * (len(seconds) - 1))]


def test_what_an_explanation_costs(
    pairs: list[SentencePair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = os.environ.get("TEST_ARCHIVE")
    archive = Path(named) if named else archive_of(CHECKPOINT, tmp_path, precision="int8")
    with TorchServe(tmp_path / "ts", [archive], Ports.free()) as server:
        load = Load(server.url, [pair for pair in pairs if words(pair) == 20])
        predicted, explained = load.in_turns(60)
        ratio = statistics.median(explained) / statistics.median(predicted)
        lines = [
            f"one client: prediction {milliseconds(predicted, 0.5):.1f} ms, explanation "
            f"{milliseconds(explained, 0.5):.1f} ms (medians), {ratio:.1f} times"
        ]
        shares = (0.0, 0.05, 0.1, 0.2)
        found: dict[float, list[tuple[list[float], list[float]]]] = {share: [] for share in shares}
        for _ in range(3):  # in turns, as other programs on the machine come and go
            for share in shares:
                found[share].append(load.beside(share, 5))
        p95 = {}
        for share, rounds in found.items():
            both = [[s for one in rounds for s in one[kind]] for kind in (0, 1)]
            p95[share] = milliseconds(both[0], 0.95)
            line = f"{CLIENTS} clients, {share:.0%} explanations: {len(both[0])} predictions, median "
            line += f"{milliseconds(both[0], 0.5):.0f} ms, p95 {p95[share]:.0f} ms"
            if both[1]:
                line += f"; {len(both[1])} explanations, median {milliseconds(both[1], 0.5):.0f} ms"
            lines.append(line)
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert ratio <= 6
    assert p95[0.1] <= 2 * p95[0.0]
