"""The made-up sentence pairs: what each edit does, and that the mix gives no label away."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from scripts import PROJECT
from scripts.demo.demo_pairs import (
    CONTRADICTION,
    change_number,
    direct_object,
    drop_adverb,
    edited_pairs,
    everyday_pairs,
    negate,
    subject,
    topic,
)


@pytest.mark.parametrize(
    ("sentence", "opposite"),
    [
        ("아이가 방에 있다.", "아이가 방에 없다."),
        ("그는 일을 시작했다.", "그는 일을 시작하지 않았다."),
        ("나는 집에 갔다", "나는 집에 가지 않았다"),
        ("하늘", ""),
    ],
)
def test_negate(sentence: str, opposite: str) -> None:
    assert negate(sentence) == opposite


@pytest.mark.parametrize(
    ("word", "as_topic", "as_subject", "as_object"),
    [("형", "형은", "형이", "형을"), ("누나", "누나는", "누나가", "누나를"), ("나", "나는", "내가", "나를")],
)
def test_particles_fit_the_word(word: str, as_topic: str, as_subject: str, as_object: str) -> None:
    assert (topic(word), subject(word), direct_object(word)) == (as_topic, as_subject, as_object)


def test_change_number_changes_one_number_and_nothing_else() -> None:
    changed = change_number(random.Random(1), "버스가 12분 뒤에 온다.")
    assert changed != "버스가 12분 뒤에 온다."
    assert changed.startswith("버스가 ")
    assert changed.endswith("분 뒤에 온다.")
    assert change_number(random.Random(1), "버스가 온다.") == ""


def test_drop_adverb_leaves_the_rest() -> None:
    assert drop_adverb(random.Random(1), "그는 아주 큰 집에 산다.") == "그는 큰 집에 산다."


def test_the_mix_is_balanced_and_negation_alone_says_little() -> None:
    pairs = everyday_pairs(random.Random(1), 3000)
    labels = Counter(label for _, _, label in pairs)
    assert min(labels.values()) > 0.25 * len(pairs)
    negated = Counter(label for _, hypothesis, label in pairs if "않" in hypothesis)
    assert negated[CONTRADICTION] < 0.65 * negated.total()


def test_is_the_same_for_the_same_seed() -> None:
    sentences = ["그는 어제 사과 세 개를 샀다.", "방이 아주 넓다.", "나는 학교에 갔다."]
    first, second = (edited_pairs(random.Random(5), sentences, 30) for _ in range(2))
    assert first == second


def test_everyday_test_is_balanced() -> None:
    lines = (PROJECT / "tests" / "everyday_pairs.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len({(row["premise"], row["hypothesis"]) for row in rows}) == 40
    assert Counter(row["label"] for row in rows) == {"entailment": 14, "contradiction": 13, "neutral": 13}
