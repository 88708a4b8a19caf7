"""One premise with many hypotheses: the answers of the pairs, each in its place."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

PREMISE = "남자가 책을 읽는다. 날씨가 맑다."
HYPOTHESES = [f"여자가 책을 {number}권 읽는다." for number in range(64)]


def post(url: str, body: Any) -> Any:
    answer = requests.post(url, json=body, timeout=60)
    assert answer.status_code == 200, answer.text[:300]
    return answer.json()


def test_answers_are_those_of_the_pairs_sent_one_by_one(url: str) -> None:
    answers = post(url, {"premise": PREMISE, "hypotheses": HYPOTHESES})
    assert [(each["premise"], each["hypothesis"]) for each in answers] == [(PREMISE, h) for h in HYPOTHESES]
    for answer in answers[::7]:
        alone = post(url, {"premise": PREMISE, "hypothesis": answer["hypothesis"]})
        assert answer.pop("probabilities") == pytest.approx(alone.pop("probabilities"), abs=1e-6)
        assert answer == alone


def test_a_premise_tensor_of_one_row_goes_with_every_hypothesis(url: str) -> None:
    tensors = [
        {"name": "premise", "datatype": "BYTES", "shape": [1], "data": [PREMISE]},
        {"name": "hypothesis", "datatype": "BYTES", "shape": [64], "data": HYPOTHESES},
    ]
    label, probabilities, _ = post(url, {"inputs": tensors})["outputs"]
    answers = post(url, {"premise": PREMISE, "hypotheses": HYPOTHESES})
    assert (label["shape"], probabilities["shape"]) == ([64], [64, 3])
    assert label["data"] == [answer["label"] for answer in answers]
    expected = [value for answer in answers for value in answer["probabilities"].values()]
    assert probabilities["data"] == pytest.approx(expected, abs=1e-6)


def test_a_response_may_have_more_bytes_than_its_request(url: str) -> None:
    """As a list does in CP949: Hangul has two bytes there, and three in UTF-8."""
    pair = {"premise": "가" * 16_000, "hypothesis": "나" * 16_000}
    body = json.dumps([pair] * 64, ensure_ascii=False).encode("cp949")
    assert len(body) > 4_000_000
    headers = {"Content-Type": "application/json; charset=cp949"}

    def ask(_: int) -> requests.Response:
        return requests.post(url, data=body, headers=headers, timeout=60)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(8)))
    assert [(answer.status_code, len(answer.content) > 6_000_000) for answer in answers] == [(200, True)] * 8


@pytest.mark.parametrize("sign", ["가", "\x01", '"'])
def test_the_largest_response_that_a_body_can_ask_for_is_sent(url: str, sign: str) -> None:
    """Each answer repeats the premise; beyond a limit it is refused, and below that TorchServe sends it."""
    size = {"가": 3, "\x01": 6, '"': 2}[sign]
    longest = min(50_000, (4_194_304 // 64 - 2) // size)
    answers = post(url, {"premise": sign * longest, "hypotheses": HYPOTHESES})
    assert [answer["premise"] for answer in answers] == [sign * longest] * 64
    refused = requests.post(url, json={"premise": sign * (longest + 1), "hypotheses": HYPOTHESES}, timeout=60)
    assert (refused.status_code, refused.json()["type"]) == (413, "limit_exceeded")
