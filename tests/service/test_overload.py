"""More than the machine can do: what is answered is answered in time, and the rest is refused at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests
import yaml

from scripts import CONFIG
from scripts.bench.comparison import generated_pairs
from scripts.bench.full_size import SHAPE, make_full_size
from scripts.model.archive import build_archive
from scripts.torchserve.server import Ports, TorchServe
from tests.service.overload import LARGE, measure_capacity, open_loop

PAIR = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
DEADLINE = 10.0
"""As `config/model-config.yaml` has it."""


def capacity_of(server: TorchServe) -> dict[str, float]:
    """What a worker says that it can do."""
    url = f"{server.management_url}/models/nli?customized=true"
    found: dict[str, float] = requests.get(url, timeout=60).json()[0]["customizedMetadata"]["capacity"]
    return found


def test_a_request_that_nobody_waits_for_is_refused_and_the_client_told_when_to_come_back(url: str) -> None:
    for age, status in ((11, 503), (1, 200), (-60, 200), (100_000, 200)):
        headers = {"X-Request-Start": f"t={time.time() - age:.3f}"}
        answer = requests.post(url, json=PAIR, headers=headers, timeout=30)
        assert answer.status_code == status
    headers = {"X-Request-Start": f"t={time.time() - 20:.3f}"}
    refused = requests.post(url, json=PAIR, headers=headers, timeout=30)
    assert refused.json()["type"] == "overloaded"
    assert refused.headers["Retry-After"] == "3"


def test_a_worker_says_how_much_it_can_do(server: TorchServe) -> None:
    found = capacity_of(server)
    assert found["deadline_seconds"] == DEADLINE
    assert found["batch_tokens"] == pytest.approx(2.5 * found["tokens_per_second"], rel=0.01)
    assert found["tokens_per_second"] > 1000


def serve_random_model(folder: Path, shape: Mapping[str, int], deadline: float) -> TorchServe:
    """A server, not started yet, with a model of random weights."""
    pairs = generated_pairs(500)
    texts = [text for pair in pairs for text in (pair.premise, pair.hypothesis)]
    config = yaml.safe_load((CONFIG / "model-config.yaml").read_text(encoding="utf-8"))
    config["handler"]["deadline_seconds"] = deadline
    (folder / "model-config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    archive = build_archive(
        make_full_size(texts, folder / "checkpoint", shape),
        "1.0",
        folder / "nli-1.0.mar",
        model_config=folder / "model-config.yaml",
    )
    return TorchServe(folder / "ts", [archive], Ports.free())


def test_single_pairs_are_answered_in_time_beside_large_requests_that_are_too_many(tmp_path: Path) -> None:
    # Slow enough that TorchServe's queue of 100 never fills, which would refuse whatever comes.
    shape = {**SHAPE, "hidden_size": 384, "num_hidden_layers": 12, "intermediate_size": 1536}
    deadline = 4.0
    with serve_random_model(tmp_path, shape, deadline) as server:
        # A pair has 17 tokens, about.
        large = 4 * capacity_of(server)["tokens_per_second"] / (17 * LARGE)
        url = f"{server.url}/predictions/nli"
        load = open_loop(url, generated_pairs(500), single=10, large=large, seconds=6, warm_up=4)
    single, many = load.of(1), load.of(LARGE)
    assert set(load.statuses()) == {200, 503}
    assert load.percentile(99) <= deadline
    assert single.goodput >= 0.9 * single.offered
    assert 0.1 * many.offered <= many.goodput <= 0.7 * many.offered


@pytest.mark.long
def test_goodput_stays_at_four_times_the_capacity(tmp_path: Path) -> None:
    """A model of KcBERT's size in float32; half of the pairs come alone and half in requests of 64."""
    pairs = generated_pairs(2000)
    with serve_random_model(tmp_path, SHAPE, DEADLINE) as server:
        url = f"{server.url}/predictions/nli"
        workers = server.worker_pids()
        print(f"\nmeasured at warm-up: {capacity_of(server)}")
        capacity = measure_capacity(url, pairs, 30)
        print(f"capacity in a closed loop: {capacity:.1f} pairs/s")
        found = {}
        for times in (1, 2, 4):
            rate = times * capacity / 2
            load = open_loop(url, pairs, rate, rate / LARGE, seconds=40, warm_up=15)
            found[times] = load
            for name, part in (("all", load), ("single", load.of(1)), ("large", load.of(LARGE))):
                print(
                    f"{times}x {name:6}: offered {part.offered:6.1f} pairs/s, answered {part.goodput:6.1f}, "
                    f"p50 {part.percentile(50):5.2f} s, p99 {part.percentile(99):5.2f} s, {part.statuses()}"
                )
        print(f"after it: {capacity_of(server)}")
        assert server.worker_pids() == workers, "no worker was killed"
    for times, load in found.items():
        assert load.percentile(99) <= DEADLINE
        assert set(load.statuses()) <= {200, 503}
        single = load.of(1)
        # Their fair share: what they ask for, or half of what is answered, whichever is less.
        assert single.goodput >= 0.85 * min(single.offered, load.goodput / 2), times
    assert found[4].goodput >= 0.85 * capacity
