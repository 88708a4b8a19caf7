"""Three hosts behind one balancer, and two versions whose answers tell pairs and versions apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from handler.checkpoint import Checkpoint
from handler.request import SentencePair
from scripts.bench.load import body_of
from scripts.model.archive import build_archive
from scripts.model.conversion import convert_checkpoint
from tests.cluster.hosts import Host
from tests.cluster.network import Machine, machines
from tests.conftest import PATIENCE
from tests.load import Clients
from tests.making import answers, random_weights, some_pairs, write_lightning_checkpoint, write_model_config
from tests.programs import need

PAIRS = 200
NO_LIMIT = ("--gateway-rate=100000", "--gateway-large-rate=100000")


@dataclass(frozen=True, slots=True)
class Versions:
    """The archive of each version, and what it answers to each pair."""

    archives: dict[str, Path]
    pairs: list[SentencePair]
    expected: dict[str, list[list[float]]]

    def clients(self, url: str, count: int = 12) -> Clients:
        """Clients that ask a host or a balancer about each pair in turn."""
        return Clients(f"{url}/predictions/nli", count, list(map(body_of, self.pairs)), self.judge)

    def judge(self, number: int, answer: dict[str, Any]) -> str:
        """Hold an answer against its own pair: `right`, or `swapped` where it is another pair's."""
        right = self.expected[answer["model"]["version"]][number]
        given = answer["probabilities"].values()
        close = all(abs(a - b) < 1e-4 for a, b in zip(given, right, strict=True))
        return "right" if close else "swapped"


@pytest.fixture(scope="package")
def versions(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Versions:
    store, scratch = tmp_path_factory.mktemp("cluster-store"), tmp_path_factory.mktemp("cluster")
    pairs, config = some_pairs(PAIRS), write_model_config(scratch / "model-config.yaml", PATIENCE)
    archives: dict[str, Path] = {}
    expected: dict[str, list[list[float]]] = {}
    for seed, version in enumerate(("1.0", "2.0")):
        file = write_lightning_checkpoint(
            scratch / version / "epoch=1-val_loss=0.50.ckpt", random_weights(pretrained, seed)
        )
        checkpoint = convert_checkpoint(file, str(pretrained), scratch / f"converted-{version}")
        archives[version] = build_archive(
            checkpoint, version, store / f"nli-{version}.mar", model_config=config
        )
        expected[version] = answers(Checkpoint.read(checkpoint), pairs).tolist()
    told_apart = [
        max(abs(a - b) for a, b in zip(one, other, strict=True)) > 1e-3
        for one, other in itertools.combinations(expected["1.0"], 2)
    ]
    assert sum(told_apart) > 0.95 * len(told_apart)
    return Versions(archives, pairs, expected)


@pytest.fixture(scope="package")
def network() -> Iterator[list[Machine]]:
    need("nginx")
    with machines(4) as made:
        yield made


@pytest.fixture(scope="package")
def running(
    network: list[Machine], versions: Versions, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Host]]:
    """Three hosts that have been started once; `hosts` brings back those that a test has ended."""
    folder = tmp_path_factory.mktemp("hosts")
    made = [Host(machine, folder / machine.name, *NO_LIMIT) for machine in network[:3]]
    yield made
    for each in made:
        each.kill()


@pytest.fixture
def hosts(running: list[Host], versions: Versions) -> list[Host]:
    """Three ready hosts with version 1.0."""
    for each in running:
        each.ensure(versions.archives["1.0"])
    for each in running:
        each.wait_until_ready()
    return running
