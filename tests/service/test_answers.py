"""One service, asked in every way: each answer belongs to its pair, and faults stay where they are."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from handler.checkpoint import Checkpoint
from handler.request import SentencePair
from scripts import PROJECT
from scripts.manage import main
from scripts.pairs.client import Client, ServiceRefusedError, ServiceUnreachableError
from scripts.pairs.evaluation import evaluate_checkpoint, evaluate_url
from scripts.pairs.labelled import LabelledPair
from scripts.torchserve.server import TorchServe
from tests.commands import call

JSON = "application/json; charset=utf-8"
WORDS = ["비가", "온다.", "남자가", "책을", "읽는다.", "여자가", "날씨가", "맑다.", "없다.", "있다."]
GOOD = {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}


def sentence(number: int) -> str:
    """A sentence that no other number has."""
    generator = random.Random(number)
    return f"{number} " + " ".join(generator.choice(WORDS) for _ in range(generator.randint(1, 20)))


def pairs(count: int) -> list[dict[str, str]]:
    return [{"premise": sentence(2 * n), "hypothesis": sentence(2 * n + 1)} for n in range(count)]


@pytest.fixture(scope="module")
def ask(url: str) -> Callable[..., requests.Response]:
    def post(body: Any = None, path: str = "", **options: Any) -> requests.Response:
        address = url if not path else url.split("/predictions")[0] + path
        return requests.post(address, json=body, timeout=60, **options)

    return post


def test_a_pair_is_answered_as_json_in_utf8(ask: Callable[..., requests.Response]) -> None:
    answer = ask(GOOD)
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    body = answer.json()
    assert body["premise"] == GOOD["premise"]
    assert body["label"] in ("entailment", "contradiction", "neutral")
    assert sum(body["probabilities"].values()) == pytest.approx(1)
    assert body["model"] == {"name": "tiny", "version": "1.0"}


def test_a_list_is_answered_in_order(ask: Callable[..., requests.Response]) -> None:
    sent = pairs(64)
    answers = ask(sent).json()
    assert [(each["premise"], each["hypothesis"]) for each in answers] == [
        tuple(each.values()) for each in sent
    ]
    singly = [ask(each).json() for each in sent[::9]]
    for alone, together in zip(singly, answers[::9], strict=True):
        assert alone["probabilities"] == pytest.approx(together["probabilities"], abs=1e-6)
    assert len({tuple(each["probabilities"].values()) for each in answers}) == 64


@pytest.mark.parametrize(
    "options", [{"data": GOOD}, {"files": {name: (None, text) for name, text in GOOD.items()}}]
)
def test_forms_are_answered_like_json(ask: Callable[..., requests.Response], options: dict[str, Any]) -> None:
    assert ask(**options).json() == ask(GOOD).json()


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "cp949", "utf-8-sig"])
def test_other_charsets_and_types(ask: Callable[..., requests.Response], charset: str) -> None:
    raw = json.dumps(GOOD, ensure_ascii=False).encode(charset)
    named = {"utf-8-sig": "utf-8"}.get(charset, charset)
    for kind in ("application/json", "Application/JSON", "text/plain"):
        answer = ask(data=raw, headers={"Content-Type": f"{kind}; charset={named}"})
        assert answer.json() == ask(GOOD).json()


def test_kserve_v1_and_v2(ask: Callable[..., requests.Response]) -> None:
    expected = ask(GOOD).json()
    first = ask({"instances": [GOOD]}, path="/v1/models/nli:predict").json()
    assert first == {"predictions": [expected]}
    body = {
        "id": "a-7",
        "inputs": [
            {"name": name, "datatype": "BYTES", "shape": [1], "data": [text]} for name, text in GOOD.items()
        ],
    }
    second = ask(body, path="/v2/models/nli/infer").json()
    assert (second["id"], second["outputs"][0]["data"]) == ("a-7", [expected["label"]])
    assert second["outputs"][1]["data"] == pytest.approx(list(expected["probabilities"].values()), abs=1e-6)


def test_long_text_is_cut_and_says_so(ask: Callable[..., requests.Response]) -> None:
    answer = ask({"premise": "비가 온다. " * 100, "hypothesis": "맑다."}).json()
    assert answer["truncated"] is True
    assert ask(GOOD).json()["truncated"] is False


def test_eight_clients_each_get_their_own_answers(url: str) -> None:
    sent = [SentencePair(**each) for each in pairs(160)]
    with Client(url, connections=8) as client:
        expected = [answer for n in range(0, 160, 40) for answer in client.classify(sent[n : n + 40])]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda pair: client.classify([pair])[0], sent))
    for pair, ours, theirs in zip(sent, answers, expected, strict=True):
        assert (ours["premise"], ours["hypothesis"]) == (pair.premise, pair.hypothesis)
        assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-6)


def test_a_bad_request_in_a_batch_leaves_its_neighbours_alone(ask: Callable[..., requests.Response]) -> None:
    bodies: list[Any] = [GOOD, {"premise": "비가 온다."}, GOOD, GOOD] * 12
    # A request of 64 pairs keeps the worker busy, so that what follows gathers into shared batches.
    with ThreadPoolExecutor(len(bodies) + 1) as pool:
        busy = pool.submit(ask, pairs(64))
        answers = list(pool.map(ask, bodies))
    assert busy.result().status_code == 200
    assert [answer.status_code for answer in answers] == [200, 400, 200, 200] * 12
    error = answers[1].json()
    assert error == {"code": 400, "type": "invalid_pair", "message": "hypothesis is missing"}
    assert answers[1].headers["content-type"] == JSON


def test_other_methods_and_paths_are_defined(url: str, server: TorchServe) -> None:
    empty = requests.get(url, timeout=30)
    assert (empty.status_code, empty.json()["type"]) == (400, "invalid_request")
    assert requests.post(url + "-none", json=GOOD, timeout=30).status_code == 404


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (json.dumps(GOOD), "application/json", 200),
        (b"", None, 400),
        (b"", "application/x-www-form-urlencoded", 400),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 400),
    ],
)
def test_a_client_s_own_describe_header_is_nothing_special(
    url: str, body: bytes, content_type: str | None, status: int
) -> None:
    headers = {"describe": "True", "Content-Type": content_type}
    answer = requests.post(url, data=body, headers=headers, timeout=30)
    assert "source_sha256" not in answer.json()
    assert answer.status_code == status


def test_the_model_describes_itself(server: TorchServe, tiny_checkpoint: Path) -> None:
    described = requests.get(f"{server.management_url}/models/nli?customized=true", timeout=30).json()
    custom = described[0]["customizedMetadata"]
    checkpoint = Checkpoint.read(tiny_checkpoint)
    assert custom["model"] == "tiny"
    assert custom["labels"] == ["entailment", "contradiction", "neutral"]
    assert custom["max_seq_length"] == 64
    assert custom["limits"] == {"max_pairs": 64, "max_explained_pairs": 8, "max_text_chars": 50000}
    assert custom["source_sha256"] == checkpoint.source_sha256
    assert (custom["precision"], custom.get("card")) == ("fp32", None)


def test_the_list_says_where_each_model_comes_from(server: TorchServe, tiny_checkpoint: Path) -> None:
    listed = call(main, "--url", server.management_url, "list", "--json")
    before = call(main, "--url", server.management_url, "--json", "list")
    assert json.loads(before.stdout) == json.loads(listed.stdout)
    (version,) = json.loads(listed.stdout)["versions"]
    source = version["model"].pop("source_sha256")
    assert source == Checkpoint.read(tiny_checkpoint).source_sha256
    assert version["model"].pop("identity").startswith("tiny-")
    assert version["model"] == {
        "model": "tiny",
        "source": "epoch=1-val_loss=0.50.ckpt",
        "precision": "fp32",
        "labels": ["entailment", "contradiction", "neutral"],
        "training_data": None,
    }


def test_evaluation_is_the_same_through_the_service_and_in_process(
    server: TorchServe, tiny_checkpoint: Path
) -> None:
    labels = ("entailment", "contradiction", "neutral")
    rows = [LabelledPair(SentencePair(**each), labels[n % 3]) for n, each in enumerate(pairs(100))]
    served, local = evaluate_url(server.url, rows), evaluate_checkpoint(tiny_checkpoint, rows)
    assert served.confusion == local.confusion
    assert served.accuracy == local.accuracy
    assert served.calibration_error == pytest.approx(local.calibration_error, abs=1e-5)


def test_the_client_tells_refusals_from_silence(url: str) -> None:
    with Client(url) as client, pytest.raises(ServiceRefusedError, match="is blank") as caught:
        client.classify([SentencePair(" ", "가")])
    assert caught.value.status == 400
    with Client("http://127.0.0.1:9") as nobody, pytest.raises(ServiceUnreachableError, match="no service"):
        nobody.classify([SentencePair("가", "나")])


def test_classify_shows_a_prediction_with_bars(server: TorchServe) -> None:
    script = str(PROJECT / "scripts" / "classify.py")
    command = [sys.executable, script, GOOD["premise"], GOOD["hypothesis"], "--url"]
    shown = subprocess.run([*command, server.url], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "가설  날씨가 맑다." in shown.stdout
    assert "█" in shown.stdout
    assert "model tiny, version 1.0" in shown.stdout
    failed = subprocess.run([*command, "http://127.0.0.1:9"], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: no service answers")
