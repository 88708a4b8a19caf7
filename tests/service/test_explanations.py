"""Explanations from a real service: every shape, beside predictions and beside faults."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from scripts import PROJECT
from scripts.torchserve.server import TorchServe
from tests.service.test_answers import GOOD, pairs

LONG = {"premise": "비가 온다. " * 100, "hypothesis": "맑다."}
Ask = Callable[..., requests.Response]


@pytest.fixture(scope="module")
def ask(server: TorchServe) -> Ask:
    def post(body: Any = None, path: str = "/explanations/nli", **options: Any) -> requests.Response:
        return requests.post(server.url + path, json=body, timeout=60, **options)

    return post


def test_each_word_has_its_place_and_its_weight(ask: Ask) -> None:
    answer = ask(GOOD)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json; charset=utf-8")
    explained = answer.json()
    predicted = ask(GOOD, path="/predictions/nli").json()
    assert explained["probabilities"] == pytest.approx(predicted["probabilities"], abs=1e-6)
    assert explained.keys() - predicted.keys() == {"explanation"}
    for name, text in GOOD.items():
        words = explained["explanation"][name]
        assert [text[each["start"] : each["end"]] for each in words] == text.split()
        assert [each["text"] for each in words] == text.split()
    # Each weight is what a client finds that leaves the word out.
    label = explained["label"]
    without = ask(GOOD | {"premise": "온다."}, path="/predictions/nli").json()
    lost = explained["probabilities"][label] - without["probabilities"][label]
    assert explained["explanation"]["premise"][0]["weight"] == pytest.approx(lost, abs=1e-6)


def test_every_shape_of_request_is_explained(ask: Ask) -> None:
    expected = ask(GOOD).json()
    assert ask([GOOD, GOOD]).json() == [expected, expected]
    assert ask(None, data=GOOD).json() == expected
    assert ask(None, files={name: (None, text) for name, text in GOOD.items()}).json() == expected
    for path in ("/explanations/nli", "/v1/models/nli:explain"):
        assert ask({"instances": [GOOD]}, path=path).json() == {"explanations": [expected]}
    assert ask(GOOD, path="/explanations/nli/1.0").json() == expected
    inputs = [
        {"name": name, "datatype": "BYTES", "shape": [1], "data": [text]} for name, text in GOOD.items()
    ]
    outputs = {each["name"]: each["data"] for each in ask({"inputs": inputs}).json()["outputs"]}
    assert list(outputs) == ["label", "probabilities", "truncated", "explanation"]
    assert json.loads(outputs["explanation"][0]) == expected["explanation"]
    named = ask({"inputs": inputs, "outputs": [{"name": "explanation"}]}).json()["outputs"]
    assert [(each["name"], each["data"]) for each in named] == [("explanation", outputs["explanation"])]


def test_words_beyond_the_cut_have_no_weight_and_are_counted(ask: Ask) -> None:
    answer = ask(LONG).json()
    explanation = answer["explanation"]
    assert answer["truncated"] is True
    assert explanation["unread_words"] == {"premise": 200 - len(explanation["premise"]), "hypothesis": 0}


def test_errors_are_those_of_predictions(ask: Ask) -> None:
    bodies: list[Any] = [{"premise": "가"}, [GOOD, GOOD | {"hypothesis": " "}], "가", []]
    for body in bodies:
        explained, predicted = ask(body), ask(body, path="/predictions/nli")
        assert (explained.status_code, explained.json()) == (predicted.status_code, predicted.json())
    many = ask([GOOD] * 9)
    assert (many.status_code, many.json()) == (
        413,
        {
            "code": 413,
            "type": "limit_exceeded",
            "message": "9 pairs in one request to be explained; at most 8 are allowed",
        },
    )
    assert ask({}, path="/v1/models/nli:explain").json()["error"] == "premise is missing"


def test_a_client_s_own_header_doesn_t_turn_a_prediction_into_an_explanation(ask: Ask) -> None:
    answer = ask(GOOD, path="/predictions/nli", headers={"explain": "True"})
    assert answer.status_code == 200
    assert "explanation" not in answer.json()


def test_explanations_and_predictions_in_one_batch_are_as_they_are_alone(ask: Ask) -> None:
    sent = pairs(24)
    alone = {
        path: [ask(pair, path=path).json() for pair in sent]
        for path in ("/explanations/nli", "/predictions/nli")
    }
    load = [(path, n) for n in range(24) for path in (*alone, "/explanations/nli/1.0")]
    bad = [("/explanations/nli", None), ("/predictions/nli", None)] * 6
    # A request of 64 pairs keeps the worker busy, so that what follows gathers into shared batches.
    with ThreadPoolExecutor(len(load) + len(bad) + 1) as pool:
        busy = pool.submit(ask, pairs(64), path="/predictions/nli")
        answers = [pool.submit(ask, sent[n], path=path) for path, n in load]
        refused = [pool.submit(ask, {"premise": "가"}, path=path) for path, _ in bad]
        for (path, n), answer in zip(load, answers, strict=True):
            expected, found = alone[path.removesuffix("/1.0")][n], answer.result().json()
            if "explanations" in path:
                assert found == expected  # to the last digit
            else:
                assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
        assert {each.result().status_code for each in refused} == {400}
        assert busy.result().status_code == 200


def test_classify_shows_the_words(server: TorchServe) -> None:
    command = [sys.executable, str(PROJECT / "scripts" / "classify.py"), *LONG.values(), "--url", server.url]
    shown = subprocess.run([*command, "--explain"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    printed = subprocess.run([*command, "--explain", "--json"], capture_output=True, text=True, check=False)
    answer = json.loads(printed.stdout)
    assert f"what '{answer['label']}' loses without a word" in shown.stdout
    for word in answer["explanation"]["hypothesis"]:
        assert f"가설 {word['weight']:+6.1%}" in shown.stdout
    unread = answer["explanation"]["unread_words"]["premise"]
    assert f"({unread} more words, which the model doesn't read)" in shown.stdout
    refused = subprocess.run(
        [*command[:2], "--input", "a.csv", "--output", "b.csv", "--explain"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (
        2,
        "classify.py: error: --input needs --output, no texts, and no --explain",
    )
