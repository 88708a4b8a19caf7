"""Claims against a long text: the sentence that decides is named, and what is cut is told."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from handler.checkpoint import Checkpoint
from handler.request import SentencePair
from handler.sentences import deciding, split_sentences
from scripts import PROJECT
from scripts.model.archive import build_archive
from scripts.pairs.local_model import LocalModel
from scripts.torchserve.server import Ports, TorchServe
from tests.service.long_texts import texts

SHIPPED = PROJECT / "checkpoints" / "demo"


def post(url: str, body: Any) -> Any:
    answer = requests.post(url, json=body, timeout=60)
    assert answer.status_code == 200, answer.text[:300]
    return answer.json()


def test_the_answer_is_that_of_the_sentence_it_names(url: str, tiny_checkpoint: Path) -> None:
    model = LocalModel(Checkpoint.read(tiny_checkpoint), threads=1)
    named = set()
    for text, _, claim in texts():
        answer = post(url, {"premise": text, "hypothesis": claim, "premise_sentences": True})
        assert (answer["premise"], answer["hypothesis"]) == (text, claim)
        sentence = answer["sentence"]
        assert text[sentence["start"] : sentence["end"]] == sentence["text"]
        pairs = [SentencePair(each.text, claim) for each in split_sentences(text)]
        assert len(pairs) == 40
        alone = model.probabilities(pairs)
        # The last digits depend on the rest of a batch, so a sentence may win that is as good.
        index = deciding(model.checkpoint.labels, alone.round(4).tolist())
        assert np.allclose(alone[sentence["index"]], alone[index], atol=1e-3)
        assert pairs[sentence["index"]].premise == sentence["text"]
        assert list(answer["probabilities"].values()) == pytest.approx(alone[sentence["index"]], abs=1e-5)
        named.add(sentence["index"])
    assert len(named) > 3


def test_a_form_is_read_by_sentences_and_decomposed_text_has_the_same(url: str) -> None:
    body = {"premise": "비가 왔다.그러나 맑다.", "hypothesis": "비가 온다.", "premise_sentences": "true"}
    expected = post(url, body)
    sent = {name: unicodedata.normalize("NFD", text) for name, text in body.items()}
    answer = requests.post(url, data=sent, timeout=60).json()
    assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
    assert answer["sentence"]["index"] == expected["sentence"]["index"]
    assert unicodedata.normalize("NFC", answer["sentence"]["text"]) == expected["sentence"]["text"]
    assert expected["sentence"]["text"] != body["premise"]


def test_many_hypotheses_are_each_decided_by_their_own_sentence(url: str) -> None:
    text = "비가 온다. 남자가 책을 읽는다."
    claims = ["책을 읽는다.", "비가 온다.", "여자가 있다."]
    together = post(url, {"premise": text, "hypotheses": claims, "premise_sentences": True})
    for claim, answer in zip(claims, together, strict=True):
        alone = post(url, {"premise": text, "hypothesis": claim, "premise_sentences": True})
        assert answer.pop("probabilities") == pytest.approx(alone.pop("probabilities"), abs=1e-6)
        assert answer == alone


def test_a_sentence_that_is_cut_says_so(url: str) -> None:
    text = "비가 온다. " + "남자가 책을 읽고 " * 40 + "잔다."
    answer = post(url, {"premise": text, "hypothesis": "비가 온다.", "premise_sentences": True})
    assert answer["truncated"] is True
    assert answer["sentence"]["truncated"] is (answer["sentence"]["index"] == 1)
    short = post(
        url, {"premise": "비가 온다. 남자가 잔다.", "hypothesis": "온다.", "premise_sentences": True}
    )
    assert (short["truncated"], short["sentence"]["truncated"]) == (False, False)


def test_more_sentences_than_pairs_are_refused(url: str) -> None:
    body = {"premise": "비가 온다. " * 65, "hypothesis": "비가 온다.", "premise_sentences": True}
    answer = requests.post(url, json=body, timeout=30)
    assert (answer.status_code, answer.json()["type"]) == (413, "limit_exceeded")
    assert "send at most 64 sentences at once" in answer.json()["message"]


def test_what_the_last_of_40_sentences_says_is_found_by_sentences_and_not_in_the_cut_text(
    tmp_path: Path,
) -> None:
    archive = build_archive(SHIPPED, "1.0", tmp_path / "nli-1.0.mar")
    found, found_in_cut = [], []
    with TorchServe(tmp_path / "ts", [archive], Ports.free()) as server:
        for text, fact, claim in texts():
            body = {"premise": text, "hypothesis": claim}
            by_sentences = post(f"{server.url}/predictions/nli", body | {"premise_sentences": True})
            if (by_sentences["label"], by_sentences["sentence"]["text"]) == ("entailment", fact):
                assert by_sentences["sentence"]["index"] == 39
                found.append(claim)
            cut = post(f"{server.url}/predictions/nli", body)
            assert cut["truncated"]
            if cut["label"] == "entailment":
                found_in_cut.append(claim)
    assert (len(found), found_in_cut) == (20, [])
