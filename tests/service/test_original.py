"""The proof of the main job: the original system's checkpoint, converted and served, answers as it did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from handler.checkpoint import Checkpoint
from handler.encoding import PairEncoder
from handler.request import SentencePair
from scripts.model.archive import build_archive
from scripts.model.conversion import convert_checkpoint
from scripts.model.weights import choose_checkpoint
from scripts.torchserve.gateway import Gateway
from scripts.torchserve.gateway_settings import Address, GatewaySettings
from scripts.torchserve.server import Ports, TorchServe
from tests.programs import need

MENDED = {
    "nfd": "decomposed Hangul became [UNK]; it is composed now",
    "nfd_premise_only": "decomposed Hangul became [UNK]; it is composed now",
    "nfd_hypothesis_only": "decomposed Hangul became [UNK]; it is composed now",
    "special_tokens_in_text": "control tokens that a user types are text now",
    "special_tokens_lower_glued": "control tokens that a user types are text now",
}
REFUSED = {
    "empty_hypothesis": "blank text has no prediction",
    "empty_premise": "blank text has no prediction",
    "both_empty": "blank text has no prediction",
    "spaces_only": "blank text has no prediction",
    "61_0": "blank text has no prediction",
    "62_0": "blank text has no prediction",
    "0_62": "blank text has no prediction",
    "lone_surrogate": "not Unicode text; the original dropped it silently",
}
NINE_FIELDS = {"premise", "hypothesis", "prediction"} | {
    f"{label}_{part}" for label in ("entailment", "contradiction", "neutral") for part in ("data", "width")
}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows(original: Path) -> list[Row]:
    # Not str.splitlines: some rows hold other characters that it takes for line ends.
    with (original / "reference_public.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def converted(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    choice = choose_checkpoint(original / "checkpoint-paircls")
    assert choice.file.name == "epoch=1-val_loss=0.48.ckpt"
    folder = tmp_path_factory.mktemp("original") / "original"
    return convert_checkpoint(choice.file, str(original / "pretrained"), folder)


@pytest.fixture(scope="module")
def url(converted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("ts")
    archive = build_archive(converted, "1.0", folder / "nli-1.0.mar")
    with TorchServe(folder / "run", [archive], Ports.free()) as server:
        yield f"{server.url}/predictions/nli"


def without_float_noise(width: str) -> str:
    return f"{round(float(width.removesuffix('%')))}.0%"


def test_the_exceptions_are_rows_that_exist(rows: list[Row]) -> None:
    kinds = {row["kind"] for row in rows}
    assert MENDED.keys() | REFUSED.keys() <= kinds
    assert len(rows) == 163


def test_every_row_is_encoded_as_the_original_did(converted: Path, rows: list[Row]) -> None:
    encoder = PairEncoder.from_folder(converted, Checkpoint.read(converted).max_seq_length)
    compared = [row for row in rows if row["kind"] not in MENDED.keys() | REFUSED.keys()]
    encoded = encoder.encode([SentencePair(row["premise"], row["hypothesis"]) for row in compared])
    for row, pair in zip(compared, encoded, strict=True):
        assert list(pair.input_ids) == row["input_ids"], row["kind"]
        assert list(pair.token_type_ids) == row["token_type_ids"], row["kind"]
    assert len(compared) == 150


def test_every_row_is_answered_as_the_original_did(url: str, rows: list[Row]) -> None:
    worst = 0.0
    for row in rows:
        if row["kind"] in MENDED.keys() | REFUSED.keys():
            continue
        answer = requests.post(url, json={key: row[key] for key in ("premise", "hypothesis")}, timeout=30)
        assert answer.status_code == 200, row["kind"]
        body = answer.json()
        expected = row["output"] | {
            key: without_float_noise(value) for key, value in row["output"].items() if key.endswith("_width")
        }
        assert expected.keys() == NINE_FIELDS
        assert {key: body[key] for key in NINE_FIELDS} == expected, row["kind"]
        difference = max(
            abs(ours - theirs)
            for ours, theirs in zip(body["probabilities"].values(), row["probs"], strict=True)
        )
        worst = max(worst, difference)
    assert worst < 1e-5


def test_the_tutorials_api_holds_at_the_gateway(url: str, rows: list[Row], tmp_path: Path) -> None:
    need("nginx")
    settings = GatewaySettings(
        service=Address.parse(url.split("/")[2]), listen=Address("127.0.0.1", Ports.free().inference)
    )
    with Gateway(tmp_path / "log", settings) as gateway:
        for number, row in enumerate(rows):
            pair = {key: row[key] for key in ("premise", "hypothesis")}
            client = {"X-Forwarded-For": f"10.0.0.{number + 1}"}
            answer = requests.post(f"{gateway.url}/api", json=pair, headers=client, timeout=30)
            if row["kind"] in REFUSED:
                assert answer.status_code == 400, row["kind"]
                continue
            assert list(answer.json()) == list(row["output"]), row["kind"]
            if row["kind"] not in MENDED:
                expected = {
                    key: without_float_noise(value) if key.endswith("_width") else value
                    for key, value in row["output"].items()
                }
                assert answer.json() == expected, row["kind"]


def test_what_the_original_got_wrong_is_mended(url: str, rows: list[Row]) -> None:
    for row in rows:
        if row["kind"] in REFUSED:
            answer = requests.post(url, json={key: row[key] for key in ("premise", "hypothesis")}, timeout=30)
            assert (answer.status_code, answer.json()["type"]) == (400, "invalid_pair"), row["kind"]
    by_kind = {row["kind"]: row for row in rows}
    composed = by_kind["swapped"]
    for kind in (kind for kind in MENDED if kind.startswith("nfd")):
        row = by_kind[kind]
        # The same sentences in composed form are the row "swapped" the other way round.
        pair = {"premise": composed["hypothesis"], "hypothesis": composed["premise"]}
        sent = {key: row[key] for key in ("premise", "hypothesis")}
        answers = [requests.post(url, json=each, timeout=30).json() for each in (sent, pair)]
        assert answers[0]["probabilities"] == pytest.approx(answers[1]["probabilities"], abs=1e-6), kind
