"""More than the machine can do: what is answered is answered in time, and the rest is refused at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from scripts.bench.comparison import generated_pairs
from scripts.bench.full_size import SHAPE, make_full_size
from scripts.model.archive import build_archive
from scripts.torchserve.management import Management
from scripts.torchserve.server import Ports, TorchServe
from tests.conftest import PATIENCE
from tests.load import occupy
from tests.making import write_model_config
from tests.processes import suspended
from tests.service.overload import LARGE, bodies, measure_capacity, open_loop

PAIR = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}
DEADLINE = 10.0
"""As `config/model-config.yaml` has it."""

TOKENS = 17
"""Of a generated pair, about."""


def capacity_of(server: TorchServe) -> dict[str, float]:
    """What a worker says that it can do."""
    url = f"{server.management_url}/models/nli?customized=true"
    found: dict[str, float] = requests.get(url, timeout=60).json()[0]["customizedMetadata"]["capacity"]
    return found


def test_a_request_that_nobody_waits_for_is_refused_and_the_client_told_when_to_come_back(url: str) -> None:
    for age, status in ((PATIENCE + 1, 503), (1, 200), (-60, 200), (100_000, 200)):
        headers = {"X-Request-Start": f"t={time.time() - age:.3f}"}
        answer = requests.post(url, json=PAIR, headers=headers, timeout=30)
        assert answer.status_code == status
    headers = {"X-Request-Start": f"t={time.time() - 2 * PATIENCE:.3f}"}
    refused = requests.post(url, json=PAIR, headers=headers, timeout=30)
    assert refused.json()["type"] == "overloaded"
    assert refused.headers["Retry-After"] == f"{PATIENCE // 4}"


def test_a_worker_says_how_much_it_can_do(server: TorchServe) -> None:
    found = capacity_of(server)
    assert found["deadline_seconds"] == PATIENCE
    assert found["batch_tokens"] == pytest.approx(PATIENCE / 4 * found["tokens_per_second"], rel=0.01)
    assert found["tokens_per_second"] > 10  # as little as a pause of the machine may leave


def serve_random_model(folder: Path, shape: Mapping[str, int]) -> TorchServe:
    """A server, not started yet, with a model of random weights."""
    pairs = generated_pairs(500)
    texts = [text for pair in pairs for text in (pair.premise, pair.hypothesis)]
    checkpoint = make_full_size(texts, folder / "checkpoint", shape)
    config = write_model_config(folder / "model-config.yaml", DEADLINE)
    archive = build_archive(checkpoint, "1.0", folder / "nli-1.0.mar", model_config=config)
    return TorchServe(folder / "ts", [archive], Ports.free())


def test_single_pairs_are_answered_beside_large_requests_that_are_too_many(tmp_path: Path) -> None:
    # The worker takes all that waits: single pairs need less than half of its time, but more than one large
    # request does; all large ones need nearly twice its time.
    shape = {**SHAPE, "hidden_size": 384, "num_hidden_layers": 12, "intermediate_size": 1536}
    pairs = generated_pairs(2000)
    with serve_random_model(tmp_path, shape) as server, ThreadPoolExecutor(100) as pool:
        management = Management(server.management_url)
        size = min(LARGE, 1 + int(capacity_of(server)["batch_tokens"] / (32 * TOKENS)))
        one, many = bodies(pairs, 1), bodies(pairs, size, first=100)

        def ask(body: bytes) -> int:
            headers = {"Content-Type": "application/json"}
            answer = requests.post(f"{server.url}/predictions/nli", body, headers=headers, timeout=300)
            assert answer.status_code == 200 or answer.json()["type"] == "overloaded"
            return answer.status_code

        with suspended(*server.worker_pids()):
            single = occupy(pool, lambda: ask(next(one)), lambda: management.version("1.0").queued)
            single += [pool.submit(ask, next(one)) for _ in range(30)]
            large = [pool.submit(ask, next(many)) for _ in range(56)]
            waiting_since = time.monotonic()
            while management.version("1.0").queued < 86:
                assert time.monotonic() < waiting_since + 60, management.version("1.0")
                time.sleep(0.05)
        assert {each.result() for each in single} == {200}
        assert {each.result() for each in large} == {200, 503}


@pytest.mark.long
def test_goodput_stays_at_four_times_the_capacity(tmp_path: Path) -> None:
    """A model of KcBERT's size in float32; half of the pairs come alone and half in requests of 64."""
    pairs = generated_pairs(2000)
    with serve_random_model(tmp_path, SHAPE) as server:
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
